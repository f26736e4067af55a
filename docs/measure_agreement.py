"""Measures how methods agree with exact patching on models, tasks, levels and both directions, and what each cost.

    python docs/measure_agreement.py --out FOLDER
    python docs/measure_agreement.py --out FOLDER --models A,B --tasks ioi,sva --levels heads,blocks --pairs 8

Every case is what `circuits compare` measures, and is kept in FOLDER as one JSON file, with the sha256 of the weights: a second
call takes it from there, so a long list may be stopped and gone on with. The result is Markdown tables.
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

from script_options import shared
from tables import hashes, kept, markdown, say, weights_of

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

METHODS = "atp,relp,relp-ah,atp-ig,deeplift"


def options() -> argparse.Namespace:
    """What the command line says."""
    about = "Agreement of methods with exact patching, and their costs."
    parser = shared(about, "out", "models", "tasks", "directions", "methods", "pairs", "seed", methods=METHODS)
    parser.add_argument("--levels", default="heads", help="commas between them")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    given.out.mkdir(parents=True, exist_ok=True)
    found = [case for model in given.models.split(",") for case in cases_of(model, given)]
    say_weights(found)
    for level in given.levels.split(","):
        say_level([case for case in found if case["level"] == level], given.methods.split(","))
    return 0


# ---------------------------------------------------------------- what is measured


def cases_of(name: str, given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Every case of one model: from its file, or measured and kept. The model is loaded when the first must be measured."""
    import interp

    model, short = cache(partial(interp.load, name)), Path(name).name
    for level, task, direction in product(*(g.split(",") for g in (given.levels, given.tasks, given.directions))):
        path = given.out / f"{'-'.join((short, Path(task).stem, level, direction))}.json"
        case = kept(path, lambda of=(task, level, direction): measured(model(), *of, given))  # type: ignore[misc]
        if (case["pairs"], list(case["agreement"]), case["seed"]) != asked(given):
            sys.exit(f"{path} was measured with other --pairs, --methods or --seed; choose another --out.")
        yield case


def asked(given: argparse.Namespace) -> tuple[int, list[str], int]:
    return given.pairs, given.methods.split(","), given.seed


def measured(model: Any, task: str, level: str, direction: str, given: argparse.Namespace) -> dict[str, Any]:
    """What `circuits compare` finds, as plain data."""
    from circuits.console.run_results import record_json
    from circuits.runs.made_with import machine

    start = time.perf_counter()
    found = compared(model, task, level, direction, given)
    every = [scores.provenance for scores in (*found.scores, found.exact)]
    return {
        "model": model.name,
        "task": every[0].task,
        "level": level,
        "direction": direction,
        "pairs": given.pairs,
        "seed": given.seed,
        "parts": len(found.scores[0].parts),
        "passes": {p.method: (p.forwards, p.backwards) for p in every},
        "seconds": round(time.perf_counter() - start, 1),
        "weights": weights(model),
        "machine": machine() | {"cores": os.cpu_count()},
        **{key: value for key, value in record_json(found, "").items() if key in ("finding", "accuracy", "agreement")},
    }


def compared(model: Any, task: str, level: str, direction: str, given: argparse.Namespace) -> Any:
    """The record of the comparison. The stream is scored at each position, and so on prompts of one length."""
    import interp
    from circuits.console.printing import say as say_aside
    from circuits.jobs.pipeline import run_comparison
    from circuits.settings.prepared import Settings, prepare_run
    from interp.tasks.lengths import COMMONEST

    stream = level == "resid"
    settings = Settings(
        methods=tuple(given.methods.split(",")),
        level=level,
        direction=direction,
        positions="each" if stream else "all",
        seed=given.seed,
        hold_out=False,
    )
    pairs = interp.task(task, model, n=given.pairs, seed=given.seed, length=COMMONEST if stream else None)
    return run_comparison(prepare_run(model, pairs, settings), {}, say_aside)


def weights(model: Any) -> dict[str, str]:
    """The sha256 of every file of weights of a model, and what the README beside them says first."""
    from circuits.runs.model_files import described

    readme = Path(model.origin.path) / "README.md"
    own = weights_of(described(model)["files"])
    if not own or not model.origin.path or not readme.exists():
        return own
    return {**own, "said": readme.read_text().strip().splitlines()[0].lstrip("# ")}


# ---------------------------------------------------------------- tables


def say_weights(found: Sequence[Mapping[str, Any]]) -> None:
    """Which weights, and on what machine."""
    from interp.formatting.numbers import several

    for model in dict.fromkeys(case["model"] for case in found):
        own = [case for case in found if case["model"] == model]
        files = hashes(weights_of(own[0]["weights"]))
        machine = ", ".join(several(own[0]["machine"][f"{what}s"], what) for what in ("core", "thread"))
        say(f"* {own[0]['weights'].get('said', model)}; {', '.join([*files, machine])}.")


def say_level(found: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    """The tables of one level: a row for each case, a column for each method."""
    if not found:
        return
    kinds = [k for k in found[0]["agreement"][methods[0]] if k not in ("exact", "n_pairs", "embed") and "->" not in k]
    kinds = kinds if len(kinds) > 2 else kinds[:1]  # one kind is all
    over = " / ".join(kinds)
    say(f"\nLevel {found[0]['level']}. Exact patching of: {'; '.join(samples(found))}.")
    say(f"\nPearson over {over} (the interval is of all):\n")
    table(
        found,
        methods,
        lambda a: " / ".join([number(a["all"], "pearson") + interval(a["all"]), *each(a, kinds[1:], "pearson")]),
        right=[right(case) for case in found],
    )
    say("\nOver all: Spearman / top-weighted / relative error:\n")
    table(
        found, methods, lambda a: " / ".join(number(a["all"], name) for name in ("spearman", "top_weighted", "error"))
    )
    say(f"\nPearson without the largest node of {over}:\n")
    largest = [" / ".join(row["largest"] for row in rows(case["agreement"][methods[0]], kinds)) for case in found]
    table(found, methods, lambda a: " / ".join(each(a, kinds, "pearson_without")), largest=largest)
    say(f"\nSlope, the method's sizes over the exact ones, of {over}:\n")
    table(found, methods, lambda a: " / ".join(each(a, kinds, "slope")))
    say("\nCost in forwards, a backward counted twice; the run on the source counts with the first that needs it:\n")
    say_costs(found, methods)


def samples(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of each model, how many parts exact patching scored, of how many."""
    for model in dict.fromkeys(case["model"] for case in found):
        own = [case for case in found if case["model"] == model]
        sizes = [next(iter(case["agreement"].values()))["all"]["n"] for case in own]
        yield f"{model}, {spread(sizes)} of {spread([case['parts'] for case in own])}"


def table(
    found: Sequence[Mapping[str, Any]],
    methods: Sequence[str],
    cell: Callable[[Mapping[str, Any]], str],
    **more: Sequence[str],
) -> None:
    """A row for each case; `more`: further columns, their names and cells."""
    lines = [
        (case["model"], case["task"], case["direction"], *own, *(cell(case["agreement"][m]) for m in methods))
        for case, *own in zip(found, *more.values(), strict=True)
    ]
    say(markdown(("model", "task", "direction", *more, *(f"`{m}`" for m in methods)), lines))


def say_costs(found: Sequence[Mapping[str, Any]], methods: Sequence[str]) -> None:
    """What each method took: the range over the cases of a model."""
    lines = []
    for model in dict.fromkeys(case["model"] for case in found):
        own = [case["passes"] for case in found if case["model"] == model]
        spent = {m: [passes[m][0] + 2 * passes[m][1] for passes in own] for m in ("exact", *methods)}
        lines.append((model, *map(spread, spent.values())))
    say(markdown(("model", "exact", *(f"`{m}`" for m in methods)), lines))


def spread(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def right(case: Mapping[str, Any]) -> str:
    """On how many pairs the model prefers the answer, and on the corrupt prompt the wrong one."""
    return " / ".join(f"{case['accuracy'][side]:.0%}" for side in ("clean", "corrupt"))


def rows(found: Mapping[str, Any], kinds: Sequence[str]) -> list[Mapping[str, Any]]:
    return [found[kind] for kind in kinds]


def each(found: Mapping[str, Any], kinds: Sequence[str], name: str) -> list[str]:
    return [number(row, name) for row in rows(found, kinds)]


def number(row: Mapping[str, Any], name: str) -> str:
    """A number of a row; a dash where it has none."""
    return "-" if row[name] is None else f"{row[name]:.2f}"


def interval(row: Mapping[str, Any]) -> str:
    return f" [{row['pearson_ci'][0]:.2f}, {row['pearson_ci'][1]:.2f}]" if row["pearson_ci"] else ""


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
