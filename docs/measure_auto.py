"""Measures method auto against exact patching: its agreement, what it cost, and what it missed.

    python docs/measure_auto.py
    python docs/measure_auto.py --model FOLDER --tasks A.json,B.json --levels heads,edges --pairs 12
    python docs/measure_auto.py --model FOLDER --tasks ioi --levels neurons --pairs 8 --budget 30F

Up to `--sweep` parts all are patched exactly; of more the largest 40 by auto and by each preset, and 200 drawn at random from
all. The result is a Markdown table. Costs are in forwards of the whole model over the data (F); a backward counts as two.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import code, hashes, markdown, say, weights_of

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

BUILT_IN = "ioi,greater-than,gender,sva,induction,capital"
#: What auto chooses among, by whether edges are scored.
PRESETS = {
    False: ("deeplift", "atp", "relp", "relp-ah", "atp-ig", "relp-ig"),
    True: ("deeplift", "eap", "relp", "relp-ah", "eap-ig", "relp-ig"),
}
COLUMNS = (
    "task", "level", "parts", "auto r", "best preset r", "exact patching", "auto cost", "exact", "top 10 missed",
    "chance each, wrong", "spent of the budget", "seconds",
)  # fmt: skip
#: Of more parts than are swept: so many of the top of each ranking, and so many of all at random.
TOP, DRAWN = 40, 200


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Method auto against exact patching.")
    parser.add_argument("--model", default="demo", help="'demo', a folder, or hf:ORG/NAME")
    parser.add_argument("--tasks", default=BUILT_IN, help="built-in tasks or files, commas between them")
    parser.add_argument("--levels", default="heads,edges,neurons", help="levels, commas between them")
    parser.add_argument("--pairs", type=int, default=12, help="the first so many")
    parser.add_argument("--budget", default=None, help="as for circuits discover")
    parser.add_argument("--sweep", type=int, default=2500, help="up to so many parts all are patched exactly")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    model = interp.load(given.model)
    say(header(model))
    say(markdown(COLUMNS, []))
    for name in given.tasks.split(","):
        task = interp.task(name, model, n=given.pairs)
        for level in given.levels.split(","):
            say(markdown(COLUMNS, [row(model, task, level, given)]).splitlines()[-1])
    return 0


def header(model: Any) -> str:
    """The model, the sha256 of its weights, and the machine."""
    from circuits.runs.directory import machine
    from circuits.runs.model_files import described

    own = hashes(weights_of(described(model)["files"]))
    return f"{', '.join([model.name, *own])}; {os.cpu_count()} cores, {machine()['threads']} threads.\n"


def row(model: Any, task: Any, level: str, given: argparse.Namespace) -> list[str]:
    """One line of the table."""
    import interp

    asked = {"level": level, "seed": given.seed, "show_progress": False}
    auto: Any = interp.attribute(model, task, method="auto", budget=given.budget, **asked)
    presets = interp.attribute_all(model, task, methods=PRESETS[level == "edges"], **asked)
    counted = [part.name for part in auto.parts if part.kind != "embed"]
    chosen = counted if len(counted) <= given.sweep else sample(counted, (auto, *presets.values()), given.seed)
    exact = interp.attribute(model, task, method="exact", parts=chosen, **asked)
    truth = means(exact, chosen)
    best = max(presets, key=lambda m: correlation(means(presets[m], chosen), truth))
    found, true = (top(means(s, chosen)) for s in (auto, exact))
    missed = [chosen[i] for i in true - found]
    search, bound = auto.search, auto.search.certificate
    return [
        task.name,
        level,
        str(len(counted)),
        f"{correlation(means(auto, chosen), truth):.4f}",
        f"{correlation(means(presets[best], chosen), truth):.4f} `{best}`",
        f"{exact.provenance.forwards:.1f} for {'all' if chosen == counted else len(chosen)}",
        f"{auto.provenance.forwards + 2 * auto.provenance.backwards:.1f}",
        str(int(auto.exact[[part.kind != "embed" for part in auto.parts]].sum())),
        code(missed) if missed else "none",
        f"{bound.chance_each:.3f}, {bound.chance_wrong:.2f}",
        f"{search.spent:.1f} of {search.budget}",
        f"{auto.provenance.seconds:.0f}",
    ]


def sample(counted: list[str], rankings: Sequence[Any], seed: int) -> list[str]:
    """The largest of each ranking, and some of all at random."""
    import numpy as np

    drawn = set(map(str, np.random.default_rng(seed).choice(counted, size=min(DRAWN, len(counted)), replace=False)))
    tops = {name for scores in rankings for name, _ in scores.top(TOP)}
    return [name for name in counted if name in drawn | tops]


def means(scores: Any, names: Sequence[str]) -> Any:
    """The mean scores of some parts."""
    column = {part.name: i for i, part in enumerate(scores.parts)}
    return scores.mean[[column[name] for name in names]]


def top(values: Any) -> set[int]:
    """The places of the 10 largest."""
    import numpy as np

    return set(np.argsort(-np.abs(values), kind="stable")[:10].tolist())


def correlation(a: Any, b: Any) -> float:
    """Pearson."""
    import numpy as np

    return float(np.corrcoef(a, b)[0, 1])


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
