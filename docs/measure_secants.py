"""Measures where float32 begins to matter for DeepLIFT: in the secants of activations, and in sums at each place of the stream.

    python docs/measure_secants.py
    python docs/measure_secants.py --models A,B --task ioi --pairs 8

The first table compares slopes over ever smaller steps, between ends of float32, with the quotient in float64. The second has
what the contributions at each place of the stream add up to, against what is measured. The result is Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tables import markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

STEPS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)
NUMBERS = 10_000
ACTIVATIONS = ("gelu", "silu")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Where float32 begins to matter for DeepLIFT.")
    parser.add_argument("--models", default="demo", help="'demo', folders, or hf:ORG/NAME, commas between them")
    parser.add_argument("--task", default="ioi", help="a built-in task or a file")
    parser.add_argument(
        "--levels", default="blocks,heads", help="levels whose parts are all that writes into the stream"
    )
    parser.add_argument("--pairs", type=int, default=8, help="the first so many")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    names = [f"{name}, {how}" for name in ACTIVATIONS for how in ("in float32", "ours", "derivative between")]
    say("Largest error of a slope over a step, which is given relative to the operand; slopes are about 1.\n")
    say(markdown(("step", *names), ([f"{step:.0e}", *errors(step)] for step in STEPS)))
    say("\nAt each place of the stream all contributions add up to what is measured, source run less base run:\n")
    columns = ("model", "dtype", "places", "measured, mean over pairs", "largest difference of a pair, of that mean")
    say(markdown(columns, (row for name in given.models.split(",") for row in cuts(name, given))))
    return 0


def errors(step: float) -> list[str]:
    """Of each activation: the plain quotient in float32, the secant of the rules, and the derivative at the middle."""
    import torch

    from interp.rules.activations import ACTIVATIONS as KNOWN
    from interp.rules.secants import elementwise_secant

    x = 2 * torch.randn(NUMBERS, generator=torch.Generator().manual_seed(0))
    y = x + step * x
    found = []
    for name in ACTIVATIONS:
        f: Any = next(a for a in KNOWN if a.name == name)
        wide, other = x.double(), y.double()
        # In float64, which is right to 1e-9 at the smallest of these steps.
        true = (f(wide) - f(other)) / (wide - other)
        plain = (f(x) - f(y)) / (x - y)
        for ours in (plain, elementwise_secant(f, x, y), slope(f, (wide + other) / 2)):
            found.append(f"{(ours.double() - true).nan_to_num(float('inf')).abs().max():.1e}")
    return found


def slope(f: Callable[[Any], Any], x: Any) -> Any:
    """The derivative of an elementwise function."""
    import torch

    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(f(x).sum(), x)[0]


def cuts(name: str, given: argparse.Namespace) -> Iterator[list[str]]:
    """What each place of the stream, a cut through the model, adds up to over its positions, in float32 and float64."""
    import numpy as np

    import interp
    from interp.tasks.find import alike

    for dtype in ("float32", "float64"):
        model = interp.load(name, dtype=dtype)
        task, _ = alike(given.task, model, n=given.pairs)
        scores = interp.attribute(model, task, method="deeplift", level="resid", positions="each", show_progress=False)
        change = differences(model, task)
        places = [(part.kind, part.layer) for part in scores.parts]
        off = {
            place: np.abs(scores.per_example[:, [p == place for p in places]].sum(1) - change) / np.abs(change).mean()
            for place in dict.fromkeys(places)
        }
        worst = max(off, key=lambda place: off[place].max())
        said = f"{off[worst].max():.1e} at `{worst[0]}.{worst[1]}`"
        yield [model.name, dtype, str(len(off)), f"{change.mean():.4f}", said]


def differences(model: Any, task: Any) -> Any:
    """The logit difference of each clean prompt less that of its corrupt prompt, by the plain model [pair]."""
    import numpy as np
    import torch

    found = []
    for pair in task.tokenize(model.tokenizer, model.layout.d_vocab):
        logits = []
        for ids in (pair.clean, pair.corrupt):
            with torch.no_grad():
                last = model.hf(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double()
            logits.append(float(last[list(pair.answers)].mean() - last[list(pair.wrong)].mean()))
        found.append(logits[0] - logits[1])
    return np.array(found)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
