"""Submissions of MIB: both kinds, written and checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from circuits.interchange import (
    Contents,
    InterchangeError,
    eap_ig,
    read_all,
    read_submission,
    write_submission,
)
from interp.parts.graph import parse_edge
from tests.circuits.interchange.exchanged import SHAPES, SMALL, edge_circuit, edge_scores, same, saved, theirs

# ---------------------------------------------------------------- MIB


def test_a_submission_of_scores_comes_back(tmp_path: Path) -> None:
    pairs = {"ioi_gpt2": Contents(edge_scores(SMALL)), "arc-easy_llama3": Contents(edge_scores(SHAPES[3]))}
    shapes = {"ioi_gpt2": SMALL, "arc-easy_llama3": SHAPES[3]}
    paths = write_submission(tmp_path / "mine", pairs, shapes)
    assert sorted(str(p.relative_to(tmp_path)) for p in paths) == [
        "mine.provenance.json",
        "mine/arc-easy_llama3/importances.json",
        "mine/ioi_gpt2/importances.json",
    ]
    found = read_all(tmp_path / "mine")
    assert found.keys() == pairs.keys() and all(same(found[k].scores, pairs[k].scores) for k in pairs)
    assert [e.kind for e in read_submission(tmp_path / "mine").values()] == ["scores", "scores"]


@pytest.mark.parametrize("ranking", ["signed", "absolute"])
def test_circuits_of_nine_sizes_are_tops_of_the_ranking(ranking: Any, tmp_path: Path) -> None:
    shape = SHAPES[3]
    scores = edge_scores(shape, importance_sign=-1)
    write_submission(tmp_path / "s", {"t_m": Contents(scores)}, {"t_m": shape}, kind="circuits", ranking=ranking)
    folder = tmp_path / "s" / "t_m"
    shares = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{x:g}.json" for x in shares)
    key = -scores.mean if ranking == "signed" else np.abs(scores.mean)
    best = [scores.parts[i] for i in np.argsort(-key, kind="stable")]
    for share in shares:
        data = json.loads((folder / f"{share:g}.json").read_text())
        inside = {name for name, entry in data["edges"].items() if entry["in_graph"]}
        n = math.floor(shape.n_edges * share / 100 + 1e-9)
        assert inside == {eap_ig.edge_name(edge) for edge in best[:n]}
        assert all("score" not in entry for entry in data["edges"].values())
        found = read_all(tmp_path / "s")[f"t_m/{share:g}"]
        assert found.scores is None and found.circuit is not None and found.circuit.edges == tuple(best[:n])


def _submission(tmp_path: Path, kind: Any = "circuits") -> Path:
    path = tmp_path / "s"
    write_submission(path, {"t_m": Contents(edge_scores(SHAPES[3]))}, {"t_m": SHAPES[3]}, kind=kind)
    return path


def _too_large(path: Path) -> None:
    file = path / "t_m" / "0.1.json"
    file.write_text(file.read_text().replace('"in_graph": false', '"in_graph": true'))


def _other_shape(path: Path) -> None:
    saved(path / "t_m" / "0.1.json", theirs(1, 2, False))


BROKEN: list[tuple[Callable[[Path], Any], str]] = [
    (lambda p: (p / "notes.txt").write_text("x"), "is a file; expected only folders"),
    (lambda p: (p / "nounderscore").mkdir(), "expected TASK_MODEL"),
    (lambda p: (p / "t_m").rename(p / "t m_x"), "expected TASK_MODEL"),
    (lambda p: (p / "t_m" / "x.pt").write_text("x"), ".pt files can run code"),
    (lambda p: (p / "t_m" / "5.json").unlink(), "holds 8 files"),
    (lambda p: (p / "t_m" / "5.json").write_text("{}"), "5.json' has no 'cfg'"),
    (_too_large, "of 100 edges; expected one of at most each of 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50 %"),
    (_other_shape, "different shapes"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_a_broken_submission_is_refused(change: Callable[[Path], Any], message: str, tmp_path: Path) -> None:
    path = _submission(tmp_path)
    read_submission(path)
    change(path)
    with pytest.raises(InterchangeError, match=message):
        read_submission(path)


def test_a_tenth_circuit_has_all_edges_or_none(tmp_path: Path) -> None:
    path = _submission(tmp_path)
    for value in ("true", "false"):
        text = (path / "t_m" / "50.json").read_text()
        text = text.replace('"in_graph": false', f'"in_graph": {value}').replace(
            '"in_graph": true', f'"in_graph": {value}'
        )
        (path / "t_m" / "tenth.json").write_text(text)
        assert len(read_submission(path)["t_m"].graphs) == 10


def test_a_submission_wants_scores_and_names(tmp_path: Path) -> None:
    circuit = Contents(circuit=edge_circuit((parse_edge("m0->logits"),)))
    for pairs, message in [
        ({"t_m": circuit}, "circuit without scores"),
        ({"../t_m": circuit}, "expected TASK_MODEL"),
        ({"plain": circuit}, "expected TASK_MODEL"),
    ]:
        with pytest.raises(InterchangeError, match=message):
            write_submission(tmp_path / "x", pairs, {"t_m": SMALL})
    with pytest.raises(InterchangeError, match="unknown kind"):
        write_submission(tmp_path / "x", {}, {}, kind="best")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_submission_and_nothing_else(tmp_path: Path) -> None:
    path = _submission(tmp_path)
    pairs, shapes = {"a_b": Contents(edge_scores(SMALL))}, {"a_b": SMALL}
    with pytest.raises(InterchangeError, match="exists"):
        write_submission(path, pairs, shapes)
    write_submission(path, pairs, shapes, force=True)
    assert [p.name for p in path.iterdir()] == ["a_b"]
    (path / "letter.txt").write_text("mine")
    with pytest.raises(InterchangeError, match="is a file"):
        write_submission(path, pairs, shapes, force=True)
    assert (path / "letter.txt").read_text() == "mine"
