"""Measures edge attribution on a model and a task: agreement with exact patching, and the smallest faithful circuit.

    python docs/measure.py
    python docs/measure.py --model FOLDER --task FILE.json --direction noise

Edges are scored on one half of the pairs and circuits are evaluated on the other. The result is a Markdown table.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any, Literal

from tables import say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

METHODS = "exact,eap,relp,relp-ah,eap-ig,relp-ig,random"
LIMITS = {"target": 0.9, "at_most": 1.1}
#: Up to so many edges every size is tried.
EVERY = 64
RANKINGS: tuple[Literal["absolute", "signed"], ...] = ("absolute", "signed")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Agreement and smallest faithful circuits of edge attribution.")
    parser.add_argument("--model", default="demo", help="'demo', a folder, or hf:ORG/NAME")
    parser.add_argument("--task", default="ioi", help="a built-in task or a file")
    parser.add_argument(
        "--pairs", type=int, default=100, help="the first so many, or all of fewer; half scores, half evaluates"
    )
    parser.add_argument("--methods", default=METHODS, help="comma-separated; agreement is with exact")
    parser.add_argument("--direction", default="noise", choices=("noise", "denoise"), help="how edges are scored")
    parser.add_argument("--kv", default="shared", choices=("shared", "split"))
    parser.add_argument("--share", type=float, default=0.1, help="the largest circuit, as a share of all edges")
    parser.add_argument("--seed", type=int, default=0, help="of the halves, and of random scores")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    model = interp.load(given.model)
    task = interp.task(given.task, model)
    scoring, held_out = task.limit(min(given.pairs, len(task))).split(seed=given.seed)
    found = interp.attribute_all(
        model,
        scoring,
        methods=given.methods.split(","),
        level="edges",
        direction=given.direction,
        kv=given.kv,
        seed=given.seed,
    )
    exact, first = found.get("exact"), next(iter(found.values()))
    p, n = first.provenance, len(first.parts)
    say(f"{p.model}, {p.task}: {n} edges (kv {p.kv}), {p.metric}, {p.direction}, {p.ablation} ablation, {p.dtype}.")
    say(f"{len(scoring)} pairs to score, {len(held_out)} others to evaluate, seed {given.seed}.\n")
    say("| method | Pearson | Spearman | smallest circuit, absolute ranking | smallest circuit, signed ranking |")
    say("| --- | --- | --- | --- | --- |")
    for name, scores in found.items():
        cells = [f"`{name}`", *agreement(scores, exact)]
        cells += [smallest(model, held_out, scores, ranking, given) for ranking in RANKINGS]
        say(f"| {' | '.join(cells)} |")
    return 0


def agreement(scores: Any, exact: Any) -> list[str]:
    """Pearson with its 95 % interval and Spearman over all edges; none of exact with itself, or without exact."""
    import interp

    if exact is None or scores is exact:
        return ["-", "-"]
    row = interp.agreement(scores, exact)["all"]
    if row.pearson is None or row.spearman is None:
        return ["undefined", "undefined"]
    ci = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci else ""
    return [f"{row.pearson:.2f}{ci}", f"{row.spearman:.2f}"]


def smallest(model: Any, task: Any, scores: Any, ranking: Any, given: argparse.Namespace) -> str:
    """The smallest circuit within the limits; where it is larger than allowed, also the best one of an allowed size."""
    from circuits.evaluation.smallest import find_smallest

    largest = int(given.share * len(scores.parts))
    wanted = {"ranking": ranking, "seed": given.seed, **LIMITS}
    found = find_smallest(model, task, scores, largest=min(largest, EVERY), every=True, **wanted)
    if found.size is None and largest > EVERY:
        found = find_smallest(model, task, scores, largest=largest, **wanted)
    if found.reason:
        return "undefined"
    if found.size is not None:
        return f"**{found.size}** ({found.size / found.n_parts:.1%}), f {found.faithfulness}"
    beyond = find_smallest(model, task, scores, **wanted)
    needed = "none of any size" if beyond.size is None else f"{beyond.size} ({beyond.size / beyond.n_parts:.0%})"
    return f"none up to {largest}: best f {found.best} at {found.best_size}; without that limit {needed}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
