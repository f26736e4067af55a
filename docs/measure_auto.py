"""Measures method auto against exact patching: its agreement, what it cost, what it missed, and how well it estimates what it left.

    python docs/measure_auto.py
    python docs/measure_auto.py --levels edges,neurons --budget 30F --directions noise,denoise
    python docs/measure_auto.py --model FOLDER --tasks A.json,B.json --levels heads,edges --pairs 12
    python docs/measure_auto.py --model FOLDER --tasks ioi --levels neurons --pairs 8 --budget 30F

Up to `--sweep` parts all are patched exactly; of more the largest 40 by auto and by each preset, and 200 drawn at random from
all. The result is a Markdown table, and where auto left something unpatched a second one: Pearson and Spearman over these parts, by auto
and by the best preset of each, which is the best with hindsight; and what the certificate says. Costs are in forwards of the whole model over the data (F); a backward counts as two.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    "task", "level", "direction", "parts", "auto r", "best preset r", "exact patching", "auto cost", "exact", "top 10 missed",
    "chance each, wrong", "spent of the budget", "seconds",
)  # fmt: skip
LEFT = (
    "task", "level", "direction", "left", "judged", "auto r", "best preset r", "auto rho", "best preset rho",
    "sure", "among the true first", "or among so many others", "held",
)  # fmt: skip
#: Of more parts than are swept: so many of the top of each ranking, and so many of all at random.
TOP, DRAWN = 40, 200


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Method auto against exact patching.")
    parser.add_argument("--model", default="demo", help="'demo', a folder, or hf:ORG/NAME")
    parser.add_argument("--tasks", default=BUILT_IN, help="built-in tasks or files, commas between them")
    parser.add_argument("--levels", default="heads,edges,neurons", help="levels, commas between them")
    parser.add_argument("--directions", default="denoise", help="noise, denoise, commas between them")
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
    lefts = []
    for name in given.tasks.split(","):
        task = interp.task(name, model, n=given.pairs)
        for level in given.levels.split(","):
            for direction in given.directions.split(","):
                found = measured(model, task, level, direction, given)
                say(markdown(COLUMNS, [row(found)]).splitlines()[-1])
                lefts += [found] if found.left else []
    say_left(lefts)
    return 0


def header(model: Any) -> str:
    """The model, the sha256 of its weights, and the machine."""
    from circuits.runs.made_with import machine
    from circuits.runs.model_files import described

    own = hashes(weights_of(described(model)["files"]))
    return f"{', '.join([model.name, *own])}; {os.cpu_count()} cores, {machine()['threads']} threads.\n"


@dataclass(frozen=True)
class Measured:
    """Scores of one case, and the parts that they are judged on: `chosen`, and of these `left` by auto."""

    task: str
    level: str
    direction: str
    auto: Any
    presets: Any
    exact: Any
    counted: list[str]
    chosen: list[str]
    left: list[str]

    def best(self, parts: Sequence[str], of: Callable[[Any, Any], float]) -> tuple[float, str]:
        """The best preset on some parts, with hindsight."""
        truth = means(self.exact, parts)
        return max((of(means(scores, parts), truth), name) for name, scores in self.presets.items())

    def own(self, parts: Sequence[str], of: Callable[[Any, Any], float]) -> float:
        """The same of auto."""
        return of(means(self.auto, parts), means(self.exact, parts))


def measured(model: Any, task: Any, level: str, direction: str, given: argparse.Namespace) -> Measured:
    """Auto, every preset, and exact patching of all parts or of some."""
    import interp

    asked = {"level": level, "direction": direction, "seed": given.seed, "show_progress": False}
    auto: Any = interp.attribute(model, task, method="auto", budget=given.budget, **asked)
    presets = interp.attribute_all(model, task, methods=PRESETS[level == "edges"], **asked)
    counted = [part.name for part in auto.parts if part.kind != "embed"]
    chosen = counted if len(counted) <= given.sweep else sample(counted, (auto, *presets.values()), given.seed)
    exact = interp.attribute(model, task, method="exact", parts=chosen, **asked)
    known = {part.name for part, is_exact in zip(auto.parts, auto.exact, strict=True) if is_exact}
    left = [name for name in chosen if name not in known]
    return Measured(task.name, level, direction, auto, presets, exact, counted, chosen, left)


def row(found: Measured) -> list[str]:
    """One line of the table."""
    auto, exact, chosen = found.auto, found.exact, found.chosen
    r, best = found.best(chosen, correlation)
    ours, true = (top(means(s, chosen)) for s in (auto, exact))
    missed = [chosen[i] for i in true - ours]
    search, bound = auto.search, auto.search.certificate
    return [
        found.task,
        found.level,
        found.direction,
        str(len(found.counted)),
        f"{found.own(chosen, correlation):.4f}",
        f"{r:.4f} `{best}`",
        f"{exact.provenance.forwards:.1f} for {'all' if chosen == found.counted else len(chosen)}",
        f"{auto.provenance.forwards + 2 * auto.provenance.backwards:.1f}",
        str(int(auto.exact[[part.kind != "embed" for part in auto.parts]].sum())),
        code(missed) if missed else "none",
        f"{bound.chance_each:.3f}, {bound.chance_wrong:.2f}",
        f"{search.spent:.1f} of {search.budget}",
        f"{auto.provenance.seconds:.0f}",
    ]


# ---------------------------------------------------------------- what stays unpatched


def say_left(found: Sequence[Measured]) -> None:
    """The second table, and its medians."""
    import numpy as np

    if not found:
        return
    rows = [left_row(case) for case in found]
    say("\n" + markdown(LEFT, [[*row[:5], *map(shown, row[5:9]), *row[9:]] for row in rows]))
    gains = np.array([(row[5] - row[6][0], row[7] - row[8][0]) for row in rows])
    said = ", ".join(
        f"{name} {np.median(gain):+.4f} (worst {gain.min():+.4f})"
        for name, gain in zip(("r", "rho"), gains.T, strict=True)
    )
    say(f"\nauto less the best preset, median over {len(rows)} cases: {said}")


def left_row(found: Measured) -> list[Any]:
    """One line of the second table; whether what the certificate says of the parts found held is known after a sweep."""
    said, left = found.auto.search.certificate, found.left
    return [
        found.task,
        found.level,
        found.direction,
        str(said.outside),
        str(len(left)),
        found.own(left, correlation),
        found.best(left, correlation),
        found.own(left, by_rank),
        found.best(left, by_rank),
        f"{said.sure or 0} of {said.n}",
        str(said.within or "-"),
        str(said.near if said.near is not None else "-"),
        held(found) if found.chosen == found.counted else "-",
    ]


def shown(value: Any) -> str:
    """A correlation, with its preset where it is of one."""
    return f"{value[0]:.4f} `{value[1]}`" if isinstance(value, tuple) else f"{value:.4f}"


def held(found: Measured) -> str:
    """Whether the parts found stand where the certificate says, by a sweep."""
    import numpy as np

    said = found.auto.search.certificate
    sizes = dict(zip(found.counted, np.abs(means(found.exact, found.counted)), strict=True))
    known = [name for name in found.counted if name not in set(found.left)]
    first = sorted(known, key=lambda name: -sizes[name])[: said.n]
    places = [1 + sum(size > sizes[name] for size in sizes.values()) for name in first]
    right = all(place <= said.n for place in places[: said.sure or 0]) and max(places) <= (said.within or len(sizes))
    return "yes" if right else "no"


def by_rank(a: Any, b: Any) -> float:
    """Spearman."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


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
