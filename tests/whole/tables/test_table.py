"""Tables: every value of them is a file that gives an equal value, is frozen, prints short and draws itself."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from circuits.circuit.algebra import Comparison, Overlap
from interp.attribution.path_effects import PathEffects
from interp.attribution.token_attribution import TokenAttribution
from interp.dictionaries.evaluation.probing import ProbeResult
from interp.errors import TableError
from interp.formatting import parquet, table
from interp.formatting.table import HEADER, Table
from interp.lenses.direct import LogitAttribution
from interp.lenses.direct_effects import DirectEffects
from interp.lenses.lens import LogitLens
from interp.model.coverage.coverage import Coverage
from interp.parts.nodes import Node
from interp.parts.tokens import Texts, pad
from interp.rules.rules import GIM
from interp.scores.agreement import Agreement, Row
from interp.scores.scores import Scores
from tests.circuits.display.displayed_runs import MAKERS as SHOWN
from tests.circuits.display.displayed_runs import agreement_of, comparison_of
from tests.interp.display.displayed import HOSTILE, effects_of, lens_of, paths_of, probe_of, read, tokens_of
from tests.whole.tables.tables import MAKERS, of_every_class, same, saved


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
    assert list(header) == ["format", "class", "version", "fields", "arrays"] and header["class"] == cls.__name__


def test_a_folder_whose_name_has_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "layer=3"
    folder.mkdir()
    assert same(DirectEffects.load(saved(effects_of("m"), folder)), effects_of("m"))
    assert "layer" not in parquet.read_columns(folder / "table.parquet", "m", TableError).column_names


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
