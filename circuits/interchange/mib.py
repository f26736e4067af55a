"""Submission folders of the circuit track of MIB: one folder `TASK_MODEL` per pair.

In each either one graph file with scores, or nine without scores, which hold at most .1, .2, .5, 1, 2, 5, 10, 20 and 50 % of
the edges. A tenth, with none or all of them, is allowed. Source: Mueller et al. 2025.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np

from circuits.circuit.circuit import Circuit
from circuits.interchange import sidecar
from circuits.interchange.contents import Contents
from circuits.interchange.eap_contents import to_contents, to_graph
from circuits.interchange.eap_ig import EapGraph, Shape, load, to_json
from circuits.interchange.strict import InterchangeError
from interp.errors import unknown
from interp.files import write_text
from interp.folders import State, recover, replacing_folder
from interp.parts.graph import KeyValue
from interp.scores.scores import Ranking

Kind = Literal["scores", "circuits"]
KINDS: Final = ("scores", "circuits")
PER_MILLE: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
SCORES_FILE: Final = "importances.json"
_PAIR: Final = re.compile(r"[A-Za-z0-9.+-][A-Za-z0-9.+_-]*_[A-Za-z0-9.+-]+")


@dataclass(frozen=True)
class Entry:
    """One pair: its graph files by name, from the smallest to the largest circuit; one alone for scores."""

    name: str
    kind: Kind
    graphs: Mapping[str, EapGraph]


def pair_name(task: str, model: str) -> str:
    """`TASK_MODEL`, with every other character than letters, digits, `.`, `+` and `-` as `-`."""
    task, model = (re.sub(r"[^A-Za-z0-9.+-]+", "-", name.rsplit("/", 1)[-1]).strip("-.") for name in (task, model))
    return f"{task or 'task'}_{model or 'model'}"


# ---------------------------------------------------------------- writing


def write_submission(
    path: str | Path,
    pairs: Mapping[str, Contents],
    shapes: Mapping[str, Shape],
    *,
    kind: Kind = "scores",
    ranking: Ranking = "signed",
    force: bool = False,
) -> list[Path]:
    """Write the folder of all pairs at once; the paths of its files, and of the provenance beside the folder.

    ranking: by which the circuits of kind `circuits` are chosen, the first of it; MIB ranks by `signed` for CPR and
    `absolute` for CMD. force: replace a folder that is a submission, and nothing else.

    Raises: InterchangeError for a name that is not TASK_MODEL, contents without scores, or a folder that exists.
    """
    path = Path(path)
    texts, held = _texts(pairs, shapes, kind, ranking)
    _check_target(path, force)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        new = Path(folder) / "new"
        for name, text in texts.items():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(new / name, text)
        beside = sidecar.path_beside(path)
        sidecar.save(beside, texts, held)
        with replacing_folder(path, _state) if path.exists() else nullcontext():
            new.rename(path)
    return [*(path / name for name in texts), beside]


def _texts(
    pairs: Mapping[str, Contents], shapes: Mapping[str, Shape], kind: Kind, ranking: Ranking
) -> tuple[dict[str, str], dict[str, Contents]]:
    """File name -> text, and file name -> what it holds."""
    if kind not in KINDS:
        raise InterchangeError(unknown("kind of submission", kind, KINDS))
    texts, held = {}, {}
    for pair, contents in pairs.items():
        _check_pair(pair)
        if pair not in shapes:
            raise InterchangeError(f"{pair}: no shape given for it; expected one for each of {', '.join(pairs)}.")
        if contents.scores is None:
            raise InterchangeError(
                f"{pair}: a circuit without scores given; a submission is made from the scores of edges."
            )
        bare = Contents(scores=contents.scores)
        if kind == "scores":
            found = {SCORES_FILE: (bare, to_graph(bare, shapes[pair]))}
        else:
            found = _circuits(bare, shapes[pair], ranking)
        for name, (what, graph) in found.items():
            texts[f"{pair}/{name}"], held[f"{pair}/{name}"] = to_json(graph), what
    return texts, held


def _circuits(contents: Contents, shape: Shape, ranking: Ranking) -> dict[str, tuple[Contents, EapGraph]]:
    """The first edges of the ranking at every size, never more than the share; without scores, as MIB wants them."""
    to_graph(contents, shape)
    scores = contents.scores
    if scores is None:
        return {}
    p, order, found = scores.provenance, scores.rank(ranking), {}
    for share in PER_MILLE:
        n = len(scores.parts) * share // 1000
        parts = tuple(scores.parts[i] for i in order[:n])
        how = f"fraction={share / 1000:g}, {ranking} ranking"
        kv: KeyValue = "shared" if p.kv == "shared" else "split"
        what = Contents(circuit=Circuit(parts, p.level, p.model, p.task, p.method, how, p.pairs, kv))
        found[f"{share / 10:g}.json"] = (what, replace(to_graph(what, shape), scores=None))
    return found


def _check_pair(name: str) -> None:
    if _PAIR.fullmatch(name) is None:
        raise InterchangeError(f"folder {name!r}: expected TASK_MODEL, for example ioi_gpt2.")


def settle(path: Path) -> None:
    """Put back a submission that a killed process set aside while it replaced it."""
    with suppress(OSError):  # where nothing may be written, what is there is read as it is
        recover(path, _state)


def _state(path: Path) -> State:
    """A new submission comes to its place as a whole."""
    try:
        read_submission(path)
    except InterchangeError:
        return "foreign"
    return "whole"


def _check_target(path: Path, force: bool) -> None:
    if not path.parent.is_dir():
        raise InterchangeError(f"folder {str(path.parent)!r} does not exist; make it first.")
    if not path.exists():
        return
    if not force:
        raise InterchangeError(f"{str(path)!r} exists; choose another folder, or force to replace it.")
    read_submission(path)


# ---------------------------------------------------------------- reading


def read_submission(path: str | Path) -> dict[str, Entry]:
    """Every pair of a submission, checked: names, files, shapes, and the share of edges of each circuit.

    Raises: InterchangeError that names the folder or file that does not fit.
    """
    path = Path(path)
    if not path.is_dir():
        raise InterchangeError(f"{str(path)!r} is no folder; expected a submission with a folder TASK_MODEL per pair.")
    folders = sorted(path.iterdir())
    if not folders:
        raise InterchangeError(f"{str(path)!r} is empty; expected a folder TASK_MODEL per pair.")
    for folder in folders:
        if not folder.is_dir():
            raise InterchangeError(f"{str(folder)!r} is a file; expected only folders named TASK_MODEL here.")
        _check_pair(folder.name)
    return {folder.name: _entry(folder) for folder in folders}


def _entry(folder: Path) -> Entry:
    files = sorted(folder.iterdir())
    strange = next((f for f in files if not f.is_file() or f.suffix != ".json"), None)
    if strange is not None:
        raise InterchangeError(f"{str(strange)!r} is not read; expected graph files as JSON (.pt files can run code).")
    n = len(PER_MILLE)
    if len(files) not in (1, n, n + 1):
        raise InterchangeError(f"{str(folder)!r} holds {len(files)} files; expected 1 with scores, or {n} circuits.")
    graphs = {file.name: load(file) for file in files}
    if len(graphs) == 1:
        _check_scored(folder, *graphs.values())
        return Entry(folder.name, "scores", graphs)
    graphs = dict(sorted(graphs.items(), key=lambda item: int(item[1].in_graph.sum())))
    _check_sizes(folder, graphs)
    return Entry(folder.name, "circuits", graphs)


def _check_scored(folder: Path, graph: EapGraph) -> None:
    node_scores = any(node.score is not None or node.neurons_scores is not None for node in graph.nodes)
    if graph.scores is None and not node_scores:
        raise InterchangeError(
            f"{str(folder)!r}: its only file has no scores; expected scores, or {len(PER_MILLE)} circuits."
        )


def _check_sizes(folder: Path, graphs: Mapping[str, EapGraph]) -> None:
    """One circuit within each share; a tenth has none of the edges, or any number of them."""
    if len({graph.shape for graph in graphs.values()}) > 1:
        raise InterchangeError(f"{str(folder)!r}: its files are of models of different shapes; expected one model.")
    sizes = [int(graph.in_graph.sum()) for graph in graphs.values()]
    n_edges = next(iter(graphs.values())).shape.n_edges
    allowed = ([0, *PER_MILLE], [*PER_MILLE, 1000]) if len(sizes) > len(PER_MILLE) else (list(PER_MILLE),)
    if not any(
        all(size * 1000 <= n_edges * most for size, most in zip(sizes, limits, strict=True)) for limits in allowed
    ):
        raise InterchangeError(
            f"{str(folder)!r}: circuits of {', '.join(map(str, sizes))} of {n_edges} edges; expected one of at most each of "
            f"{', '.join(f'{share / 10:g}' for share in PER_MILLE)} %."
        )


def read_contents(path: Path) -> dict[str, Contents]:
    """What a submission holds of ours, by `TASK_MODEL`, or `TASK_MODEL/FILE` for each circuit."""
    beside = sidecar.path_beside(path)
    known, found = sidecar.load(beside), {}
    for pair, entry in read_submission(path).items():
        for file, graph in entry.graphs.items():
            name = f"{pair}/{file}"
            about = sidecar.of_file(path / name, known, name, beside)
            key = pair if entry.kind == "scores" else f"{pair}/{file.removesuffix('.json')}"
            if not np.any(graph.in_graph) and entry.kind == "circuits":
                about = about or sidecar.About(None, _empty(pair, name))
            found[key] = to_contents(graph, about, name)
    return found


def _empty(pair: str, name: str) -> Circuit:
    task, _, model = pair.rpartition("_")
    return Circuit((), "edges", model, task, "unknown", f"in_graph of {name}", kv="split")
