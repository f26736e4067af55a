"""Tables: every value of them is a file that gives an equal value, and a file that is something else is refused in one sentence."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import circuits  # noqa: F401  its tables too
from circuits.circuit.algebra import Comparison, Overlap
from circuits.circuit.circuit import CircuitError
from interp.attribution.path_effects import PathEffects
from interp.attribution.token_attribution import TokenAttribution
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.evaluation.probing import ProbeResult
from interp.errors import InterpError, ScoreError, TableError
from interp.formatting import parquet, table
from interp.formatting.table import FORMAT, HEADER, Table
from interp.lenses.direct import LogitAttribution
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.lens import LogitLens
from interp.model.coverage import Coverage
from interp.parts.nodes import Node
from interp.parts.tokens import Texts, pad
from interp.rules.rules import GIM
from interp.scores.agreement import Agreement, Row
from interp.scores.scores import Scores

from .displayed import (
    HOSTILE,
    agreement_of,
    comparison_of,
    effects_of,
    lens_of,
    paths_of,
    probe_of,
    read,
    tokens_of,
)
from .displayed import MAKERS as SHOWN

DATA: Final = Path(__file__).parent / "data"
#: A value of every table that has the layout of the base, with any text for its names.
MAKERS: Final[dict[type[Table], Callable[[str], Table]]] = {
    DirectEffects: effects_of,
    LogitAttribution: SHOWN["logits"],
    LogitLens: lens_of,
    TokenAttribution: tokens_of,
    PathEffects: paths_of,
    Agreement: agreement_of,
    ProbeResult: probe_of,
    Coverage: SHOWN["coverage"],
    Comparison: comparison_of,
}
FAULTS: Final = {Agreement: ScoreError, ProbeResult: DictionaryError, Comparison: CircuitError}
of_every_class = pytest.mark.parametrize("cls", MAKERS, ids=lambda cls: cls.__name__)


def same(a: Any, b: Any) -> bool:
    """Whether two values are equal to the last bit and of the same types; functions are compared by what they make of token ids."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and same(a.numpy(), b.numpy())
    if isinstance(a, np.ndarray):
        return (
            isinstance(b, np.ndarray)
            and a.dtype == b.dtype
            and a.shape == b.shape
            and np.array_equal(a, b, a.dtype.kind == "f")
        )
    if callable(a):
        return all(a(i) == b(i) for i in range(64))
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, tuple):
        return isinstance(b, tuple) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


def saved(value: Table, folder: Path) -> Path:
    value.save(folder / "table.parquet")
    return folder / "table.parquet"


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """The file with another header: what `change` returns, or the header as it left it."""
    columns = pq.read_table(path)
    header = json.loads(columns.schema.metadata[HEADER])
    given = change(header) or header
    text = given if isinstance(given, bytes) else json.dumps(given).encode()
    pq.write_table(columns.replace_schema_metadata({HEADER: text}), path)
    return path


def fault(cls: type[Table]) -> type[InterpError]:
    return FAULTS.get(cls, TableError)


# ---------------------------------------------------------------- round trips


@of_every_class
@pytest.mark.parametrize("name", ["plain", "héllo wörld 日本語 🙂 \u00a0", *HOSTILE], ids=lambda name: ascii(name)[:20])
def test_a_file_gives_an_equal_value(cls: type[Table], name: str, tmp_path: Path) -> None:
    value = MAKERS[cls](name)
    found = cls.load(saved(value, tmp_path))
    assert type(found) is cls and same(value, found)
    assert str(found) == str(value) and found._repr_html_() == value._repr_html_()
    assert found.plot().to_json() == value.plot().to_json()
    assert found.to_pandas().equals(value.to_pandas())
    if cls in (TokenAttribution, Agreement, ProbeResult, Coverage, Comparison):
        assert found == value
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


EMPTY: Final[dict[str, Table]] = {
    "effects": DirectEffects((), np.zeros((2, 0)), *[np.zeros((0, 3))] * 4, np.zeros(2)),
    "logits": LogitAttribution((), np.zeros((1, 0)), np.zeros(1), ""),
    "tokens": TokenAttribution((), (), (), (), "m", "m", "u", "zero", 3, "", "", ""),
    "no tokens": TokenAttribution(((),), ((),), (0.0,), None, "m", "m", "u", "zero", None, "", "", ""),
    "paths": PathEffects(()),
    "agreement": Agreement("m", (), 0),
    "probe": ProbeResult("", "", 0, 0, 0.0, 0, ()),
    "coverage": Coverage(GIM, ()),
    "comparison": Comparison("heads", 0, 0, Overlap("all", 0, 0, 0), (), (), (), ()),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_empty_tables_are_tables(kind: str, tmp_path: Path) -> None:
    value = EMPTY[kind]
    found = type(value).load(saved(value, tmp_path))
    assert same(value, found) and len(found.to_pandas()) == (kind == "comparison")
    assert str(value) == str(found) and repr(value) == repr(found)
    assert read(value._repr_html_()).found
    if kind != "tokens":  # its figure is of one prompt
        assert value.plot().to_json()


def test_nothing_is_kept_apart_from_nothing_known(tmp_path: Path) -> None:
    nothing, node = (None, None, None, None, None), Node("head", 0, 1, position="end")
    row = Row("head", 2, *nothing, 0.5, 1)
    found = Agreement.load(saved(Agreement("m", (row, replace(row, pearson=0.1, pearson_ci=(0.0, 0.25))), 3), tmp_path))
    assert found.rows[0].pearson is None and found.rows[1].pearson_ci == (0.0, 0.25)
    places = replace(paths_of("m").effects[0], senders=(node,), receivers=(replace(node, position=-1), node))
    (effect,) = PathEffects.load(saved(PathEffects((places,)), tmp_path)).effects
    assert [end.position for end in (*effect.senders, *effect.receivers)] == ["end", -1, "end"]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 5e-324, -0.0, 1.7976931348623157e308, 123456789012345.67])
def test_numbers_are_kept_to_the_last_bit(value: float, tmp_path: Path) -> None:
    effects = replace(effects_of("m"), per_example=np.array([[value, 1.0]]), total=np.array([value]))
    found = DirectEffects.load(saved(effects, tmp_path))
    assert [math.copysign(1, v) for v in (found.total[0], found.per_example[0, 0])] == [math.copysign(1, value)] * 2
    assert found.total[0] == found.per_example[0, 0] == value
    tokens = replace(tokens_of("m"), values=((value, 1.0),))
    assert TokenAttribution.load(saved(tokens, tmp_path)) == tokens


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64"])
def test_arrays_keep_their_type_and_their_axes(dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    value = LogitAttribution(("a", "b", "c"), rng.normal(0, 9, (5, 3)).astype(dtype), np.arange(5).astype(dtype), "m")
    assert same(LogitAttribution.load(saved(value, tmp_path)), value)
    columns = pq.read_table(tmp_path / "table.parquet")
    assert columns["per_example"].to_pylist() == value.per_example.T.tolist() and columns["node"].to_pylist() == [
        "a",
        "b",
        "c",
    ]
    assert same(
        value, LogitAttribution.load(saved(replace(value, per_example=np.asfortranarray(value.per_example)), tmp_path))
    )


def test_a_loaded_lens_does_all_that_it_did_without_a_model(tmp_path: Path) -> None:
    tokens = pad([[3, 4], [5, 6, 7]])
    logits = torch.randn(2, 2, 3, 9, generator=torch.Generator().manual_seed(0))
    lens = replace(lens_of("m"), sites=lens_of("m").sites[:2], tokens=tokens, logits=logits, decode=lambda i: f"<{i}>")
    found = LogitLens.load(saved(lens, tmp_path))
    for k in (1, 4, 9):
        assert found.to_pandas(k).equals(lens.to_pandas(k))
        assert all(map(torch.equal, found.top(k), lens.top(k)))
    assert found.plot(1).to_json() == found.plot(example=1).to_json() == lens.plot(1).to_json()
    rows = pq.read_table(tmp_path / "table.parquet").to_pandas()
    assert len(rows) == 12 and rows.real.sum() == 10 and rows.input[11] == "<7>"
    plain = replace(lens, decode=str)
    assert LogitLens.load(saved(plain, tmp_path)).decode == Texts()


def test_logits_may_be_any_number(tmp_path: Path) -> None:
    lens = lens_of("m")
    lens.logits[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), float("-inf")])
    assert same(LogitLens.load(saved(lens, tmp_path)), lens)


def test_large_arrays_are_written_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "_MOST", 130)
    lens = lens_of("m")
    assert same(LogitLens.load(saved(lens, tmp_path)), lens)
    assert pq.ParquetFile(tmp_path / "table.parquet").num_row_groups == 3


def test_texts_are_those_of_their_ids_and_else_the_id() -> None:
    found = Texts.of(lambda i: {4: "4", 5: "five"}.get(i, f" {i}"), [5, 4, 9, 5])
    assert (found.ids, found.texts) == ((5, 9), ("five", " 9"))
    assert [found(i) for i in (4, 5, 9, 1000)] == ["4", "five", " 9", "1000"] and Texts()(3) == "3"


def test_other_programs_read_the_rows(tmp_path: Path) -> None:
    import pandas as pd

    for cls, make in MAKERS.items():
        value = make("plain")
        rows = pd.read_parquet(saved(value, tmp_path))
        if cls is not LogitLens:
            assert len(rows) == len(value.to_pandas()) and set(value.to_pandas().columns) <= set(rows.columns)
    header = json.loads(pq.read_schema(tmp_path / "table.parquet").metadata[HEADER])
    assert list(header) == ["format", "class", "version", "fields", "arrays"] and header["class"] == "Comparison"


# ---------------------------------------------------------------- refused


BROKEN: Final[dict[str, tuple[Callable[[dict[str, Any]], Any], str]]] = {
    "another format": (lambda h: {**h, "format": FORMAT + 1}, "has format 2; expected 1"),
    "true is no format": (lambda h: {**h, "format": True}, "has format True; expected 1"),
    "no format": (lambda h: h.pop("format") and None, "has format None; expected 1"),
    "another class": (lambda h: {**h, "class": "Nothing"}, "holds 'Nothing'; expected"),
    "no class": (lambda h: h.pop("class") and None, "holds 'None'; expected"),
    "an unknown field": (lambda h: h["fields"].update(odd=1), "unknown key 'odd'; expected"),
    "no fields": (lambda h: h.pop("fields") and None, "it has no 'fields'"),
    "fields that are no object": (lambda h: {**h, "fields": [1]}, "its fields are no object"),
    "another array": (lambda h: h["arrays"].update(odd={}), "it says of other arrays"),
    "no JSON": (lambda h: b"{", "its header cannot be read"),
    "no object": (lambda h: b"[1]", "has format None; expected 1"),
    "NaN": (lambda h: json.dumps({**h, "odd": math.nan}).encode(), "NaN is not finite"),
    "too large": (lambda h: b'{"format": 1e999}', "1e999 is not finite"),
    "a key twice": (lambda h: b'{"format": 1, "format": 1}', "a key is given twice"),
    "too deep": (lambda h: b'{"a":' * 100_000, "its header cannot be read"),
}  # fmt: skip


@of_every_class
@pytest.mark.parametrize("kind", BROKEN)
def test_a_header_that_is_no_table_is_refused(cls: type[Table], kind: str, tmp_path: Path) -> None:
    change, words = BROKEN[kind]
    path = changed(saved(MAKERS[cls]("plain"), tmp_path), change)
    with pytest.raises(fault(cls), match=words) as refused:
        cls.load(path)
    assert repr(str(path)) in str(refused.value) and "\n" not in str(refused.value)


@of_every_class
def test_every_field_must_be_there_and_of_its_type(cls: type[Table], tmp_path: Path) -> None:
    path = saved(MAKERS[cls]("plain"), tmp_path)
    header = json.loads(pq.read_schema(path).metadata[HEADER])
    optional = {
        f.name for f in fields(cls) if f.default is None or isinstance(f.default, str) or callable(f.default_factory)
    }
    for name in header["fields"]:
        for wrong in ({"odd": 1}, [[["x"]]], math.pi * 1j):
            given = {n: v for n, v in header["fields"].items() if n != name}
            given |= {} if isinstance(wrong, complex) else {name: wrong}
            changed(path, lambda h, given=given: {**h, "fields": given})  # type: ignore[misc]
            if isinstance(wrong, complex) and name in optional:
                assert cls.load(path)
                continue
            with pytest.raises(fault(cls), match=f"{name!r}|no '{name}'"):
                cls.load(path)


@of_every_class
def test_a_file_of_another_class_is_refused(cls: type[Table], tmp_path: Path) -> None:
    for other, make in MAKERS.items():
        if other is not cls:
            path = saved(make("plain"), tmp_path)
            with pytest.raises(fault(cls), match=f"holds '{other.__name__}'; expected '{cls.__name__}'"):
                cls.load(path)
    with pytest.raises(fault(cls), match="has format None; expected 1"):
        cls.load(DATA / "scores-0.1.parquet")


def test_scores_are_no_table_of_the_base_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match="has format None; expected 1"):
        Scores.load(saved(effects_of("m"), tmp_path))


@of_every_class
@pytest.mark.parametrize("where", ["missing", "folder", "empty", "text", "cut"])
def test_what_is_no_file_of_ours_is_refused(cls: type[Table], where: str, tmp_path: Path) -> None:
    path = saved(MAKERS[cls]("plain"), tmp_path)
    data = path.read_bytes()
    path.unlink()
    if where == "folder":
        path.mkdir()
    elif where != "missing":
        path.write_bytes({"empty": b"", "text": b"PAR1 hello", "cut": data[: len(data) // 2]}[where])
    with pytest.raises(fault(cls), match="cannot be read") as refused:
        cls.load(path)
    assert repr(str(path)) in str(refused.value)


@pytest.mark.parametrize("cls", [DirectEffects, TokenAttribution], ids=lambda cls: cls.__name__)
def test_a_damaged_file_is_equal_or_refused(cls: type[Table], tmp_path: Path) -> None:
    """Any byte of the columns may be another: their pages have checksums."""
    value = MAKERS[cls]("plain")
    path = saved(value, tmp_path)
    data = path.read_bytes()
    rng, refused = np.random.default_rng(0), 0
    footer = int.from_bytes(data[-8:-4], "little")
    for at in rng.integers(4, len(data), 200):
        path.write_bytes(data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :])
        try:
            found = cls.load(path)
            assert at > len(data) - footer - 8 or same(found, value)
        except InterpError:
            refused += 1
    assert refused > 20


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(wrong: float, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    bad: dict[str, Table] = {
        "per_example": replace(effects_of("m"), per_example=np.array([[1.0, wrong]])),
        "total": replace(effects_of("m"), total=np.array([wrong])),
        "values": replace(tokens_of("m"), values=((wrong, 1.0),)),
        "share": replace(probe_of("m"), share=wrong),
        "effects": PathEffects((replace(paths_of("m").effects[0], base_metric=wrong),)),
        "rows": Agreement("m", (replace(agreement_of("m").rows[0], slope=wrong),), 2),
    }
    for name, value in bad.items():
        with pytest.raises(fault(type(value)), match=f"{type(value).__name__} for .*t.parquet.*{name}.* not finite"):
            value.save(path)
    assert not list(tmp_path.iterdir())


def test_a_file_with_such_a_number_is_refused(tmp_path: Path) -> None:
    path = saved(effects_of("m"), tmp_path)
    columns = pq.read_table(path)
    for wrong, words in ((math.nan, "'per_example' has a number that is not finite"), (None, "'per_example' has gaps")):
        column = pa.array([[wrong], [1.0]], type=pa.large_list(pa.float64()))
        pq.write_table(columns.set_column(columns.column_names.index("per_example"), "per_example", column), path)
        with pytest.raises(TableError, match=words):
            DirectEffects.load(path)


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array([[1.0, 2.0], [1.0]], type=pa.large_list(pa.float64())), "differ in length"),
        (pa.array([[1.0, 2.0], [1.0, 2.0]], type=pa.large_list(pa.float64())), r"4 numbers for an array of shape \[1, 2\]"),
        (pa.array([None, [1.0]], type=pa.large_list(pa.float64())), "has gaps"),
        (pa.array(["[1.0]", "[1.0]"]), "expected lists of float64"),
        (pa.array([[1], [1]], type=pa.large_list(pa.int64())), "expected lists of float64"),
        (None, "it has no"),
    ],
    ids=["ragged", "more", "none", "text", "integers", "missing"],
)  # fmt: skip
def test_columns_that_do_not_fit_are_refused(column: Any, words: str, tmp_path: Path) -> None:
    path = saved(effects_of("m"), tmp_path)
    columns = pq.read_table(path)
    at = columns.column_names.index("per_example")
    pq.write_table(columns.remove_column(at) if column is None else columns.set_column(at, "per_example", column), path)
    with pytest.raises(TableError, match=words):
        DirectEffects.load(path)


@pytest.mark.parametrize(
    "told",
    [
        {"dtype": "object", "shape": [1, 2]}, {"dtype": "float64", "shape": [2, -1]}, {"dtype": "float64", "shape": [2]},
        {"dtype": "float64"}, {"dtype": "<f8", "shape": [1, 2]}, {"dtype": "float64", "shape": "12"}, {},
    ],
    ids=str,
)  # fmt: skip
def test_arrays_that_cannot_be_are_refused(told: dict[str, Any], tmp_path: Path) -> None:
    path = changed(saved(effects_of("m"), tmp_path), lambda h: h["arrays"].update(per_example=told))
    with pytest.raises(TableError, match="cannot be read"):
        DirectEffects.load(path)
    given = {**told, "values": [0.5]}
    path = changed(saved(effects_of("m"), tmp_path), lambda h: h["fields"].update(total=given))
    with pytest.raises(TableError, match="'total': "):
        DirectEffects.load(path)


def test_names_in_a_file_are_told_without_their_tricks(tmp_path: Path) -> None:
    path = changed(saved(effects_of("m"), tmp_path), lambda h: h["fields"].update({"\x1b[31m\u202e\n": 1}))
    with pytest.raises(TableError) as refused:
        DirectEffects.load(path)
    assert str(refused.value).isprintable() and "unknown key" in str(refused.value)


RAN: Final[list[str]] = []


def run() -> pa.DataType:
    RAN.append("ran")
    return pa.float64()


class Trap:
    def __reduce__(self) -> Any:
        return run, ()


def test_nothing_in_a_file_is_executed(tmp_path: Path) -> None:
    """A pickled type of arrow, a dtype and a class by name, and a table of pandas that names an extension."""
    path = saved(effects_of("m"), tmp_path)
    columns = pq.read_table(path)
    for name in ("arrow.py_extension_type", "pandas.extension"):
        own = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": pickle.dumps(Trap())}
        field = pa.field("odd", pa.float64(), metadata=own)
        pq.write_table(columns.append_column(field, pa.array([1.0, 2.0])), path)
        assert same(DirectEffects.load(path), effects_of("m")) and not RAN
    for odd in ("os.system", "tests.test_table.run", "__import__('os')"):
        changed(path, lambda h, odd=odd: h["arrays"].update(per_example={"dtype": odd, "shape": [1, 2]}))  # type: ignore[misc]
        with pytest.raises(TableError, match="numbers of type"):
            DirectEffects.load(path)
    assert not RAN


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(effects_of("old"), tmp_path)
    data = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        effects_of("new").save(path)
    assert path.read_bytes() == data and list(tmp_path.iterdir()) == [path]


# ---------------------------------------------------------------- values


def tables(cls: type[Table] = Table) -> set[type[Table]]:
    return {own for sub in cls.__subclasses__() for own in (sub, *tables(sub)) if "tests" not in own.__module__}


def test_every_table_is_tested() -> None:
    assert tables() == {*MAKERS, Scores}


@of_every_class
def test_tables_are_frozen(cls: type[Table]) -> None:
    value = MAKERS[cls]("plain")
    for field in fields(value):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)
    with pytest.raises(TypeError, match="abstract"):
        Table()  # type: ignore[abstract]


@of_every_class
@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:20])
def test_what_is_printed_and_drawn_is_harmless(cls: type[Table], name: str) -> None:
    value = MAKERS[cls](name)
    assert str(value).replace("\n", "").isprintable() and len(str(value)) < 30_000 and repr(value)
    drawn = value.plot().to_json()
    assert not [c for c in "\u202e\u2066\u2028\ufeff\ud800\x1b" if c in drawn or json.dumps(c)[1:-1] in drawn]
    # plotly writes < as \u003c; a tag of ours (br, sup) is the only one left in a figure.
    tags = {part.split(">")[0] for part in json.dumps(json.loads(drawn)["data"]).split("<")[1:]}
    assert tags <= {"br", "extra", "/extra"}


def test_figures_hold_what_the_values_hold() -> None:
    effects = effects_of("m")
    bar = effects.plot().data[0]
    assert list(bar.x) == [1.0, -2.0] and bar.y[1] == "a0.h3" and bar.marker.color[0] != bar.marker.color[1]
    assert "raises m +0.50" in SHOWN["effects"]("m").plot().data[0].hovertext[0] or "raises m +0.50" in bar.hovertext[0]
    assert "lowers" in bar.hovertext[0]
    features, dimensions = probe_of("m").plot().data
    assert list(features.x) == list(dimensions.x) == [1, 5] and list(features.y) == [0.9, 0.9]
    assert features.error_y.array[0] == pytest.approx(0.05)
    paths = paths_of("m")
    assert sorted(paths.plot().data[0].x) == sorted(e.mean for e in paths)
    agreement = agreement_of("plain")
    pearson, spearman = agreement.plot().data
    assert list(pearson.x) == [row.pearson for row in agreement.rows if row.pearson is not None]
    assert list(spearman.x) == [row.spearman for row in agreement.rows if row.spearman is not None]
    shares = comparison_of("m").plot().data
    assert [list(bar.x) for bar in shares] == [[3, 3], [1, 1], [2, 2]]
    assert [list(bar.x) for bar in SHOWN["coverage"]("m").plot().data] == [[1], [0], [1]]


def test_effects_say_what_they_raise_and_print_the_largest_first() -> None:
    effects = effects_of("tok")
    assert effects.raised(0) == ("tok", "2") and effects.raised(1) == ("2",) and effects.lowered(1) == ("tok",)
    rows = effects.to_pandas()
    assert list(rows.columns) == ["node", "contribution", "stderr", "raises", "lowers"]
    assert rows.raises.tolist() == [("tok", "2"), ("2",)] and np.isnan(rows.stderr).all()
    assert (
        str(effects).splitlines()[0] == "DirectEffects(2 nodes, 1 prompt)" and "a0.h3" in str(effects).splitlines()[1]
    )
    page = read(effects._repr_html_()).text
    assert "a0.h3" in page and "tok" in page and "\u22122.000" in page


# ---------------------------------------------------------------- files of the present version


@pytest.mark.parametrize("name", ["scores-0.1", "edge-scores-0.1"])
def test_scores_of_the_present_version_load_and_are_written_as_before(name: str, tmp_path: Path) -> None:
    old = DATA / f"{name}.parquet"
    scores = Scores.load(old)
    assert scores.per_example[0, :2].tolist() == [0.1, -0.2] and scores.provenance.task == "ioi é\u202e<b>"
    scores.save(tmp_path / "new.parquet")
    before, after = pq.read_table(old), pq.read_table(tmp_path / "new.parquet")
    assert before.equals(after) and before.schema.names == after.schema.names
    written = b"pandas", b"interp.scores"
    assert set(before.schema.metadata) == set(after.schema.metadata) == set(written)
    assert before.schema.metadata[b"interp.scores"] == after.schema.metadata[b"interp.scores"]
    if name == "scores-0.1":
        assert scores.search is not None and scores.exact is not None and scores.exact.tolist() == [True, False, True]
        assert scores.parts[2] == Node("mlp", 1, position=-1)


def test_a_probe_of_the_present_version_loads_and_is_written_byte_for_byte(tmp_path: Path) -> None:
    old = DATA / "probe-0.1.json"
    result = ProbeResult.load(old)
    assert result.name == "gender é\u202e<b>" and result.rows[1].chosen == (4, 5)
    result.save(tmp_path / "new.json")
    assert (tmp_path / "new.json").read_bytes() == old.read_bytes()
    assert ProbeResult.load(saved(result, tmp_path)) == result


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"name": 1}', "null", "\xff", '{"name": NaN}', "[" * 100_000, '{"odd": 1}'],
    ids=lambda text: text[:12],
)
def test_probes_that_are_none_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DictionaryError, match=r"ProbeResult file .*p\.json' cannot be read"):
        ProbeResult.load(path)
    with pytest.raises(DictionaryError, match="cannot be read"):
        ProbeResult.load(tmp_path / "missing.json")


DAMAGED: Final[dict[str, Callable[[dict[str, Any]], Any]]] = {
    "no provenance": lambda h: h.pop("provenance") and None,
    "no parts": lambda h: h.pop("nodes") and None,
    "odd parts": lambda h: {**h, "nodes": [{"odd": 1}]},
    "no JSON": lambda h: b"{",
    "too few parts": lambda h: {**h, "nodes": h["nodes"][:1]},
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_scores_are_refused_with_their_file(kind: str, tmp_path: Path) -> None:
    columns = pq.read_table(DATA / "scores-0.1.parquet")
    header = json.loads(columns.schema.metadata[b"interp.scores"])
    given = DAMAGED[kind](header) or header
    text = given if isinstance(given, bytes) else json.dumps(given).encode()
    path = tmp_path / "s.parquet"
    pq.write_table(columns.replace_schema_metadata({b"interp.scores": text}), path)
    with pytest.raises(ScoreError, match=r"scores file .*s\.parquet'"):
        Scores.load(path)


def test_a_folder_whose_name_has_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "layer=3"
    folder.mkdir()
    assert same(DirectEffects.load(saved(effects_of("m"), folder)), effects_of("m"))
    assert "layer" not in parquet.read_columns(folder / "table.parquet", "m", TableError).column_names
