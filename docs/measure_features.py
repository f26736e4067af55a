"""Measures circuits of features: how faithful they are by method and size, and how many passes each method took.

    python docs/measure_features.py --folder FOLDER
    python docs/measure_features.py --folder FOLDER --model FOLDER --task FILE.json --data FILE.json --picture features.svg

Dictionaries are trained at the attention and MLP output and the stream behind every layer, all from one forward pass, and
kept in FOLDER; a second call takes them from there. Features are scored on one half of the pairs, as in Marks et al. (2024)
in direction noise, and circuits of the first so many are run on the other half. The result is Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tables import say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

KINDS = ("attn_out", "mlp_out", "resid_post")
METHODS = "relp,atp,atp-ig-sites,relp-ig-sites,atp-ig,random"
SIZES = (5, 10, 20, 50, 100, 200, 500, 1000, 2000)
#: Curves that are drawn, and how.
DRAWN = {"relp": "#0072b2", "atp-ig-sites": "#d55e00", "atp": "#009e73", "random": "#888888"}
STYLE = (
    "text{font:12px sans-serif;fill:#222}.grid{stroke:#ddd}.axis{stroke:#222}.middle{text-anchor:middle}"
    ".end{text-anchor:end}path{fill:none;stroke-width:1.5}rect{fill:#fff}.removed{stroke-dasharray:5 4}"
)


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Faithfulness and cost of circuits of features.")
    parser.add_argument(
        "--folder", required=True, type=Path, help="of the dictionaries: a new one, or that of a call before"
    )
    parser.add_argument("--model", default="demo", help="'demo', a folder, or hf:ORG/NAME")
    parser.add_argument("--data", default="demo", help="text to train dictionaries on")
    parser.add_argument("--task", default="sva", help="a built-in task or a file")
    parser.add_argument(
        "--pairs", type=int, default=100, help="the first so many, or all of fewer; half scores, half evaluates"
    )
    parser.add_argument("--methods", default=METHODS, help="comma-separated")
    parser.add_argument("--steps", type=int, default=10, help="of integrated gradients")
    parser.add_argument("--ablation", default="counterfactual", choices=("counterfactual", "mean", "zero"))
    parser.add_argument("--features", type=int, default=1024, help="of each dictionary")
    parser.add_argument("--k", type=int, default=24, help="active features per token, about")
    parser.add_argument("--tokens", type=int, default=400_000, help="to train on")
    parser.add_argument("--sample", type=int, default=100, help="features drawn at random for exact patching")
    parser.add_argument("--picture", type=Path, default=None, help="also draw the curves, as SVG")
    parser.add_argument("--seed", type=int, default=0, help="of the halves, and of what is drawn")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    warnings.simplefilter("ignore", UserWarning)
    model = interp.load(given.model)
    task = interp.task(given.task, model)
    scoring, held_out = task.limit(min(given.pairs, len(task))).split(seed=given.seed)
    dictionaries = trained(model, given)
    say_dictionaries(given.folder)
    scored = {"direction": "noise", "ablation": given.ablation, "seed": given.seed}
    # One call for each method, so that each pays for what it needs.
    found = {
        name: interp.attribute(
            model, scoring, method=name, level="features", dictionaries=dictionaries, **stepped(name, given), **scored
        )
        for name in given.methods.split(",")
    }
    exact = sampled(model, scoring, dictionaries, found, scored, given)
    say(
        f"\n{given.task}: {len(scoring)} pairs to score, {len(held_out)} others to evaluate, {given.ablation} ablation, noise."
    )
    say_costs(found, exact)
    curves = {
        (name, errors): curve(model, held_out, scores, given, dictionaries=dictionaries, errors=errors)
        for name, scores in found.items()
        for errors in ("kept", "removed")
    }
    for level in ("neurons", "heads"):
        scores = interp.attribute(model, scoring, method="relp", level=level, **scored)
        curves[level, ""] = curve(model, held_out, scores, given)
    say_curves(curves)
    if given.picture is not None:
        from interp.files import write_text

        write_text(given.picture, plot(curves) + "\n")
    return 0


# ---------------------------------------------------------------- what is measured


def trained(model: Any, given: argparse.Namespace) -> dict[Any, Any]:
    """The dictionaries by site: of the folder, or trained into it."""
    import interp

    own = {"d_sae": given.features, "architecture": "batchtopk", "k": given.k}
    sites = [f"{kind}.{layer}" for layer in range(model.layout.n_layers) for kind in KINDS]
    found = interp.train_dictionaries(
        model,
        given.data,
        [{"site": site, **own} for site in sites],
        tokens=given.tokens,
        out=given.folder,
        resume=Path(given.folder).exists(),
    )
    return {d.target: d for d in found}


def stepped(name: str, given: argparse.Namespace) -> dict[str, Any]:
    from interp.attribution.methods import METHODS as KNOWN

    return {"steps": given.steps} if KNOWN[name].uses_steps else {}


def sampled(
    model: Any,
    task: Any,
    dictionaries: Any,
    found: Mapping[str, Any],
    scored: Mapping[str, Any],
    given: argparse.Namespace,
) -> Any:
    """Exact scores of some features: drawn at random, and the 20 first of each method's ranking. Errors are not among them."""
    import numpy as np

    import interp

    first = next(iter(found.values()))
    names = [part.name for part in first.parts if part.kind.endswith(".feature")]
    drawn = np.random.default_rng(given.seed).choice(names, size=min(given.sample, len(names)), replace=False)
    tops = {name for s in found.values() for name, _ in s.top(40) if name in set(names)}
    chosen = sorted({*map(str, drawn), *tops}, key=names.index)
    say(
        f"{len(names):,} features are active; exact scores of {len(chosen)}: {len(drawn)} drawn, and the first of each method."
    )
    return interp.attribute(
        model, task, method="exact", level="features", dictionaries=dictionaries, parts=chosen, **scored
    )


def curve(model: Any, task: Any, scores: Any, given: argparse.Namespace, **more: Any) -> dict[int, Any]:
    """Faithfulness by the number of parts."""
    from circuits import discover, evaluate

    circuit = discover(scores, n=SIZES[0])
    n = sum(part.kind != "embed" and not part.kind.endswith(".error") for part in scores.parts)
    sizes = [size for size in SIZES if size <= n]
    found = evaluate(
        model, task, circuit, scores=scores, sizes=sizes, n_random=1, held_out=True, ablation=given.ablation,
        other_ablation="none", **more,
    )  # fmt: skip
    return {point.size: point.faithfulness for point in found.curve}


# ---------------------------------------------------------------- tables


def say_dictionaries(folder: Path) -> None:
    """What the end of the training says of each, on held-out text."""
    from interp.dictionaries.training.checkpoints.folder import read_record

    record = read_record(folder) or {}
    say(f"{record['steps']} steps, {record['seconds']:.0f} s.\n")
    rows = [
        (f"`{one}`", f"{m['held_out_explained_variance']:.3f}", f"{m['held_out_l0']:.1f}", f"{m['dead']:.1%}")
        for one, m in record["final"].items()
    ]
    table(("dictionary", "explained variance", "L0", "dead"), rows)


def say_costs(found: Mapping[str, Any], exact: Any) -> None:
    """Passes of each method, and how well it agrees with exact patching on the sample."""
    import interp

    rows = []
    for name, scores in found.items():
        p, row = scores.provenance, interp.agreement(scores, exact)["all"]
        cells = [f"`{name}`", f"{p.forwards:g}", f"{p.backwards:g}"]
        ci = f" [{row.pearson_ci[0]:.2f}, {row.pearson_ci[1]:.2f}]" if row.pearson_ci else ""
        rows.append([*cells, f"{row.pearson:.2f}{ci}", f"{row.spearman:.2f}"])
    p = exact.provenance
    rows.append(["`exact`, the sample", f"{p.forwards:.0f}", f"{p.backwards:g}", "-", "-"])
    table(("method", "forwards", "backwards", "Pearson", "Spearman"), rows)


def say_curves(curves: Mapping[tuple[str, str], Mapping[int, Any]]) -> None:
    """Faithfulness: a row per ranking, a column per size."""
    rows = []
    for (name, errors), own in curves.items():
        what = f"`{name}`, errors {errors}" if errors else f"{name}, by `relp`"
        values = [own[size].value if size in own else None for size in SIZES]
        rows.append([what, *("-" if value is None else f"{value:z.2f}" for value in values), f"{area(own):.2f}"])
    table(("circuit", *map(str, SIZES), "mean"), rows)
    widest = max((e.high - e.low) / 2 for own in curves.values() for e in own.values() if e.low is not None)
    say(f"\nMean: of f over the logarithm of the size. The widest 95 % interval over pairs is +-{widest:.2f}.")


def area(own: Mapping[int, Any]) -> float:
    """The mean of f over the logarithm of the size, by trapezoids."""
    import numpy as np

    sizes = np.log([size for size, e in own.items() if e.value is not None])
    values = [e.value for e in own.values() if e.value is not None]
    return float(np.trapezoid(values, sizes) / (sizes[-1] - sizes[0])) if len(values) > 1 else float("nan")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    say("\n" + "\n".join(f"| {' | '.join(row)} |" for row in (header, ["---"] * len(header), *rows)))


def plot(curves: Mapping[tuple[str, str], Mapping[int, Any]]) -> str:
    """Faithfulness over size; dashed where errors are removed."""
    from circuits.report.drawing.svg import Scale, axes, drawing, element, label, path

    x, y = Scale(SIZES[0], SIZES[-1], 70, 560, log=True), Scale(-0.2, 1.4, 300, 20)
    ticks = [(size, str(size)) for size in SIZES], [(v / 5, f"{v / 5:.1f}") for v in range(-1, 8)]
    parts = [element("style", {}, STYLE), element("rect", {"width": "100%", "height": "100%"})]
    parts.append(axes(x, y, *ticks, ("features in the circuit", "faithfulness")))
    drawn = [(key, own) for key, own in curves.items() if key[0] in DRAWN]
    for (name, errors), own in drawn:
        points = [(x(size), y(e.value)) for size, e in own.items() if e.value is not None and y.holds(e.value)]
        line = path(points, errors)
        parts.append(element("g", {"style": f"stroke:{DRAWN[name]}"}, line))
    for i, (name, colour) in enumerate((n, c) for n, c in DRAWN.items() if any(key[0] == n for key, _ in drawn)):
        parts.append(element("path", {"d": f"M{80 + 120 * i} 360h24", "style": f"stroke:{colour}"}))
        parts.append(label(110 + 120 * i, 364, name))
    parts.append(label(70, 386, "solid: errors kept; dashed: errors removed"))
    picture = str(drawing(580, 400, "Faithfulness of circuits of features against their size", *parts))
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
