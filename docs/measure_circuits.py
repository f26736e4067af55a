"""Measures the smallest faithful circuits by several methods, of nodes or edges, on models and tasks.

    python docs/measure_circuits.py --out FOLDER
    python docs/measure_circuits.py --out FOLDER --models A,B --tasks ioi,sva --pairs 20
    python docs/measure_circuits.py --out FOLDER --level edges --pairs 60 --methods relp,exact,iterated:24F,portfolio --splits 3

Parts are scored on one half of the pairs, and every size is tried there, of edges as many as `circuits discover` tries; what stands
behind each size is measured on the other half. A search has its budget behind a colon. With several splits a line has
the sizes of each and the mean of f. Where `relp` is among the methods, a list says at which sizes others are farther from 1 on the second
half than it is, by more than half an interval.
Each case is kept in FOLDER as one JSON file, with the sha256 of the weights, and a second call takes it from there. The result is
Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

from measure_agreement import say_weights, weights
from script_options import shared
from tables import kept, markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

METHODS = "exact,atp,relp,relp-ah,atp-ig,deeplift,random"
RANKINGS = ("absolute", "signed")
LIMITS = {"target": 0.9, "at_most": 1.1}
#: Sizes of the curve, as shares of all parts; of edges there are many.
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5)
SHARES_OF_EDGES = (0.01, 0.02, 0.05, 0.1)


def options() -> argparse.Namespace:
    """What the command line says."""
    about = "Smallest faithful circuits by the rankings of methods."
    parser = shared(about, "out", "models", "tasks", "seed")
    parser.add_argument("--level", default="heads", help="a level whose parts make circuits, edges too")
    parser.add_argument("--direction", default="noise", choices=("noise", "denoise"), help="how parts are scored")
    parser.add_argument("--methods", default=METHODS, help="commas between them; a budget behind a colon")
    parser.add_argument("--pairs", type=int, default=20, help="the first so many; half scores, half judges")
    parser.add_argument("--splits", type=int, default=1, help="so many pairs of halves, of this seed and the next ones")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    given.out.mkdir(parents=True, exist_ok=True)
    found = [case for model in given.models.split(",") for case in cases_of(model, given)]
    say_weights(found)
    for model in dict.fromkeys(case["model"] for case in found):
        own = [case for case in found if case["model"] == model]
        (say_model if given.splits == 1 else say_splits)(own)
    return 0


# ---------------------------------------------------------------- what is measured


def cases_of(name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every case of one model: from its file, or measured and kept. The model is loaded when the first must be measured."""
    import interp

    model = cache(partial(interp.load, name))
    for task, split in product(given.tasks.split(","), range(given.splits)):
        own = argparse.Namespace(**vars(given) | {"seed": given.seed + split})
        which = "" if given.splits == 1 else f"-{own.seed}"
        path = given.out / f"circuits-{Path(name).name}-{Path(task).stem}{which}.json"
        case = kept(path, lambda task=task, own=own: measured(model(), task, own))  # type: ignore[misc]
        if case["asked"] != asked(own):
            sys.exit(f"{path} was measured with other options; choose another --out.")
        yield case


def asked(given: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(given, name) for name in ("level", "direction", "methods", "pairs", "seed")}


def measured(model: Any, name: str, given: argparse.Namespace) -> dict[str, Any]:
    """The circuits of one model on one task, as plain data."""
    import interp
    from circuits.runs.made_with import machine

    start = time.perf_counter()
    scoring, held_out = interp.task(name, model, n=given.pairs, seed=given.seed).split(seed=given.seed)
    asked_all = given.methods.split(",")
    how = {"level": given.level, "direction": given.direction, "seed": given.seed}
    alike = [m for m in asked_all if ":" not in m]
    plain = interp.attribute_all(model, scoring, methods=alike, **how) if alike else {}
    scores = {name: plain[name] if name in plain else within(model, scoring, name, how) for name in asked_all}
    first = next(iter(scores.values()))
    return {
        "model": model.name,
        "task": first.provenance.task,
        "asked": asked(given),
        "pairs": (len(scoring), len(held_out)),
        "rows": list(circuits(model, (scoring, held_out), scores, given.seed)),
        "weights": weights(model),
        "machine": machine() | {"cores": os.cpu_count()},
        "seconds": round(time.perf_counter() - start, 1),
    }


def within(model: Any, scoring: Any, name: str, how: Mapping[str, Any]) -> Any:
    """The scores of a search with a budget, as `name:budget` says."""
    import interp

    method, _, budget = name.partition(":")
    return interp.attribute(model, scoring, method=method, budget=budget, **how)


def circuits(model: Any, halves: tuple[Any, Any], scores: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Of each method: the smallest circuit of each ranking on the first half, and on the second its f and the curve's."""
    from circuits.circuit.selection import ranked
    from circuits.evaluation.ratio import measure
    from circuits.evaluation.running.runners import runner_for
    from circuits.evaluation.smallest import find_smallest_on

    first = next(iter(scores.values()))
    choosing, judging = (runner_for(model, half, first) for half in halves)
    edges = first.provenance.level == "edges"
    how = {"every": not edges, "seed": seed, **LIMITS}
    found = [
        (method, ranking, find_smallest_on(choosing, of, ranking=ranking, **how), top)
        for method, of in scores.items()
        for ranking, top in ((r, tops(of, ranked(of, r))) for r in (("signed",) if edges else RANKINGS))
    ]
    wanted = [top(size) for _, _, search, top in found for size in (*shares(search).values(), search.size) if size]
    seen = measure(judging, wanted, seed=seed)
    for method, ranking, search, top in found:
        yield {
            "method": method,
            "ranking": ranking,
            "size": search.size,
            "of": search.n_parts,
            "reason": search.reason or seen.reason,
            "cost": round(scores[method].provenance.forwards + 2 * scores[method].provenance.backwards, 1),
            "f": None if search.size is None else str(seen.estimate(top(search.size))),
            "curve": {share: str(seen.estimate(top(size))) for share, size in shares(search).items()},
        }


def tops(scores: Any, order: Sequence[int]) -> Callable[[int], frozenset[Any]]:
    """The first so many parts of a ranking."""
    return lambda size: frozenset(scores.parts[i] for i in order[:size])


def shares(search: Any) -> dict[str, int]:
    """The sizes of the curve, by the share of all parts that each is."""
    chosen = SHARES_OF_EDGES if search.counts == "edges" else SHARES
    return {f"{share:.0%}": max(1, round(share * search.n_parts)) for share in chosen}


# ---------------------------------------------------------------- tables


def say_model(found: Sequence[Mapping[str, Any]]) -> None:
    """The two tables of a model."""
    first = found[0]
    scored, judged = first["pairs"]
    say(f"\n{first['model']}: {scored} pairs to score and choose, {judged} others to judge.\n")
    say("The smallest circuit in the limits on the first half, and its f on the second:\n")
    names = tuple(dict.fromkeys(f"`{row['method']}`" + cost(row) for row in first["rows"]))
    lines = [
        (case["task"], ranking, *(smallest(row) for row in case["rows"] if row["ranking"] == ranking))
        for case in found
        for ranking in dict.fromkeys(row["ranking"] for row in case["rows"])
    ]
    say(markdown(("task", "ranking", *names), lines))
    say(f"\nf on the second half of the first {' / '.join(first['rows'][0]['curve'])} of the signed ranking:\n")
    lines = [(case["task"], *(curve(row) for row in case["rows"] if row["ranking"] == "signed")) for case in found]
    say(markdown(("task", *names), lines))
    say_farther(found)


def say_splits(found: Sequence[Mapping[str, Any]]) -> None:
    """A table of a model: of each task and method the sizes of all splits, and the mean of the curve."""
    scored, judged = found[0]["pairs"]
    say(f"\n{found[0]['model']}: {scored} pairs to score and choose, {judged} others to judge, in each split.\n")
    where = " / ".join(found[0]["rows"][0]["curve"])
    by = [(case["task"], row) for case in found for row in case["rows"] if row["ranking"] == "signed"]
    lines = []
    for task, method in dict.fromkeys((task, row["method"]) for task, row in by):
        rows = [row for own, row in by if (own, row["method"]) == (task, method)]
        sizes = ", ".join("none" if row["size"] is None else str(row["size"]) for row in rows)
        lines.append((task, f"`{method}`", f"{rows[0]['cost']:.0f}", sizes, mean_curve(rows)))
    say(markdown(("task", "method", "F", "sizes", f"f on the second half at {where}, mean"), lines))
    say_farther(found)


def mean_curve(rows: Sequence[Mapping[str, Any]]) -> str:
    if any(row["reason"] for row in rows):
        return "undefined"
    return " / ".join(f"{sum(_read(row['curve'][at])[0] for row in rows) / len(rows):.2f}" for at in rows[0]["curve"])


def say_farther(found: Sequence[Mapping[str, Any]]) -> None:
    if any(row["method"] == "relp" for row in found[0]["rows"]):
        say("\nFarther from 1 than `relp` by more than half of an interval, on the second half:\n")
        say("\n".join(f"* {line}" for case in found for line in farther(case)) or "* none")


def farther(case: Mapping[str, Any]) -> Iterator[str]:
    """Where the circuits of a method are farther from f = 1 than those of `relp`, by more than half the narrower of both intervals."""
    rows = {row["method"]: row["curve"] for row in case["rows"] if row["ranking"] == "signed" and not row["reason"]}
    for method, curve in rows.items():
        for share, said in curve.items() if "relp" in rows else ():
            (own, half), (relp, other) = _read(said), _read(rows["relp"][share])
            if abs(1 - own) > abs(1 - relp) + min(half, other):
                yield f"{case['task']} (seed {case['asked']['seed']}), {share}: `{method}` f {said}, `relp` {rows['relp'][share]}"


def _read(said: str) -> tuple[float, float]:
    """f and half the width of its interval, of "f [low, high]"; 0 of one pair, which has no interval."""
    f, *bounds = map(float, said.replace("[", "").replace("]", "").replace(",", "").split())
    return f, (bounds[1] - bounds[0]) / 2 if bounds else 0.0


def cost(row: Mapping[str, Any]) -> str:
    """What the scores took, in forwards over the pairs, a backward counted twice; cases of before do not say it."""
    return f" ({row['cost']:.0f} F)" if row.get("cost") else ""


def smallest(row: Mapping[str, Any]) -> str:
    if row["reason"]:
        return "undefined"
    if row["size"] is None:
        return f"none of {row['of']}"
    return f"**{row['size']}** ({row['size'] / row['of']:.0%}), f {row['f']}"


def curve(row: Mapping[str, Any]) -> str:
    return " / ".join("undefined" if row["reason"] else f"{float(f.split()[0]):.2f}" for f in row["curve"].values())


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
