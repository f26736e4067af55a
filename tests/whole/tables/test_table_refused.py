"""A file that is no table, another one, or damaged is refused in one sentence that names file and fault; nothing in it is executed."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from interp.attribution.path_effects import PathEffects
from interp.attribution.token_attribution import TokenAttribution
from interp.errors import InterpError, ScoreError, TableError
from interp.formatting.table import FORMAT, HEADER, Table
from interp.lenses.direct import LogitAttribution
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.lens import LogitLens
from interp.parts.tokens import Texts
from interp.scores.agreement import Agreement
from interp.scores.scores import Scores
from tests.circuits.display.displayed_runs import agreement_of
from tests.interp.display.displayed import effects_of, paths_of, probe_of, tokens_of
from tests.whole.tables.tables import DATA, MAKERS, changed, fault, of_every_class, same, saved

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
        f.name
        for f in fields(cls)
        if f.default is None or isinstance(f.default, (str, tuple)) or callable(f.default_factory)
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


def _shorter(value: Table, name: str) -> Table:
    given = getattr(value, name)
    return replace(value, **{name: given[:-1]})


@pytest.mark.parametrize(
    ("cls", "name"),
    [
        *((DirectEffects, name) for name in ("nodes", "per_example", "up", "down_logits", "total")),
        *((LogitAttribution, name) for name in ("nodes", "per_example", "total")),
        *((LogitLens, name) for name in ("sites", "logits")),
        *((TokenAttribution, name) for name in ("tokens", "values", "clean_metric")),
    ],
)
def test_fields_that_do_not_fit_each_other_are_refused(cls: type[Table], name: str) -> None:
    with pytest.raises(InterpError, match=rf"{cls.__name__}: \w+ of size .*expected"):
        _shorter(MAKERS[cls]("x"), name)


def test_texts_fit_their_ids() -> None:
    with pytest.raises(ValueError, match="1 texts for 2 token ids"):
        Texts((1, 2), ("a",))


def test_a_file_that_does_not_exist_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(ScoreError, match=r"nope.* cannot be read: there is no such file"):
        Scores.load(tmp_path / "nope")
