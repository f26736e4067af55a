"""Files of the present version are read and written as before: scores, probes as JSON; damaged ones are refused with their names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq
import pytest

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.evaluation.probing import ProbeResult
from interp.errors import ScoreError
from interp.parts.nodes import Node
from interp.scores.scores import Scores
from tests.whole.tables.tables import DATA, saved


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
