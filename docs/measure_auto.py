"""Measures method auto against a full sweep of exact patching: its agreement, what it cost, and what it missed.

    python docs/measure_auto.py
    python docs/measure_auto.py --model FOLDER --tasks A.json,B.json --levels heads,edges --pairs 12

The result is a Markdown table. Costs are in forwards of the whole model over the data (F); a backward counts as two.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from tables import say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

BUILT_IN = "ioi,greater-than,gender,sva,induction,capital"
PRESETS = {"edges": ("eap", "relp", "relp-ah", "eap-ig", "relp-ig")}
NODE_PRESETS = ("atp", "relp", "relp-ah", "atp-ig", "relp-ig")
COLUMNS = (
    "task | level | parts | auto r | best preset r | sweep | auto cost | exact | top 10 missed | chance each, wrong"
)


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Method auto against a full sweep of exact patching.")
    parser.add_argument("--model", default="demo", help="'demo', a folder, or hf:ORG/NAME")
    parser.add_argument("--tasks", default=BUILT_IN, help="built-in tasks or files, commas between them")
    parser.add_argument("--levels", default="heads,edges,neurons", help="levels, commas between them")
    parser.add_argument("--pairs", type=int, default=12, help="the first so many")
    parser.add_argument("--budget", default=None, help="as for circuits discover")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    model = interp.load(given.model)
    say(f"| {COLUMNS} |")
    say("| " + " | ".join("---" for _ in COLUMNS.split("|")) + " |")
    for name in given.tasks.split(","):
        task = interp.task(name, model, n=given.pairs)
        for level in given.levels.split(","):
            presets = PRESETS.get(level, NODE_PRESETS)
            swept = interp.attribute_all(model, task, methods=["exact", *presets], level=level, seed=given.seed)
            auto = interp.attribute(
                model, task, method="auto", level=level, seed=given.seed, budget=given.budget, show_progress=False
            )
            say("| " + " | ".join(row(task.name, level, auto, swept)) + " |")
    return 0


def row(task: str, level: str, auto: Any, swept: dict[str, Any]) -> list[str]:
    """One line of the table."""
    import numpy as np

    exact = swept.pop("exact")
    keep = [i for i, part in enumerate(exact.parts) if part.kind != "embed"]
    truth = exact.mean[keep]
    best = max(swept, key=lambda m: correlation(swept[m].mean[keep], truth))
    search = auto.search
    found, true = (set(np.argsort(-np.abs(s.mean[keep]), kind="stable")[:10]) for s in (auto, exact))
    missed = [auto.parts[keep[i]].name for i in true - found]
    bound = search.certificate
    return [
        task,
        level,
        str(len(keep)),
        f"{correlation(auto.mean[keep], truth):.4f}",
        f"{correlation(swept[best].mean[keep], truth):.4f} `{best}`",
        f"{exact.provenance.forwards:.1f}",
        f"{auto.provenance.forwards + 2 * auto.provenance.backwards:.1f}",
        str(int(auto.exact[keep].sum())),
        ", ".join(f"`{name}`" for name in missed) or "none",
        f"{bound.chance_each:.3f}, {bound.chance_wrong:.2f}",
    ]


def correlation(a: Any, b: Any) -> float:
    """Pearson."""
    import numpy as np

    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    sys.exit(main(options()))
