"""Measures how good attributions to tokens are, by what the model does when tokens are replaced: a table for each model.

    python docs/measure_tokens.py
    python docs/measure_tokens.py --models smollm2 --task ioi --pairs 12
    python docs/measure_tokens.py --sentences minilm

A sentence encoder is asked how near each sentence is to another, on pairs that are written below. Tokens are replaced by the zero vector.
Every row is what `interp.evaluate_tokens` says. The result is Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

METHODS = "occlusion,saliency,gradient-x-input,integrated-gradients,deeplift,relp,shapley"
#: Every measure that neither needs a truth nor runs the methods again.
MEASURES = (
    "deletion", "insertion", "comprehensiveness", "sufficiency", "infidelity, removal", "infidelity, noisy baseline",
    "completeness gap",
)  # fmt: skip
#: A sentence, and one of about the same meaning.
SENTENCES = (
    ("A man is playing a guitar.", "Someone is making music on a guitar."),
    ("The child feeds the ducks by the lake.", "A young girl gives bread to birds at the water."),
    ("Shares of the bank fell after the report.", "The bank lost value on the stock market."),
    ("The train to the coast was an hour late.", "Our train had a long delay."),
    ("She painted the kitchen door dark green.", "The kitchen door has a new coat of paint."),
    ("Heavy rain flooded the streets of the old town.", "The old town was under water after a storm."),
    ("He repaired the broken bicycle in his garage.", "The bike was fixed at home."),
    ("The doctor told her to rest for a week.", "A physician advised seven days of rest."),
    ("Two dogs chase a ball across the field.", "Dogs are running after a ball on the grass."),
    ("The museum opens at nine on weekdays.", "Visitors can enter the museum from nine in the morning."),
    ("Her first novel won an important prize.", "The author was honoured for her debut book."),
    ("The chef cut the onions and fried them in butter.", "Onions were sliced and cooked in a pan."),
)


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="How good attributions to tokens are.")
    parser.add_argument(
        "--models", default="demo", help="'demo', folders, or hf:ORG/NAME, commas between them; '' for none"
    )
    parser.add_argument("--sentences", default="", help="a folder with a sentence encoder")
    parser.add_argument("--task", default="ioi", help="a built-in task or a file, of the models")
    parser.add_argument("--pairs", type=int, default=12, help="the first so many")
    parser.add_argument("--methods", default=METHODS, help="commas between them")
    parser.add_argument("--samples", type=int, default=8, help="orders of `shapley`")
    parser.add_argument("--orders", type=int, default=5, help="random orders, whose lowest and highest are the band")
    parser.add_argument("--draws", type=int, default=32, help="of noise, for infidelity")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp

    for name in filter(None, given.models.split(",")):
        model = interp.load(name)
        say_table(model, interp.task(given.task, model, n=given.pairs, seed=given.seed), "logit_diff", given)
    if given.sentences:
        pairs = SENTENCES[: given.pairs]
        model = interp.load(given.sentences, output=interp.similarity(*(other for _, other in pairs)))
        say_table(model, similar(pairs), "logit", given)
    return 0


def similar(pairs: Any) -> Any:
    """A task of sentences. Its other prompt is never run: the baseline is the zero vector."""
    import interp

    return interp.Task("similar sentences", tuple(interp.Pair(one, one, (other,)) for one, other in pairs))


def say_table(model: Any, task: Any, metric: str, given: argparse.Namespace) -> None:
    """One table: a row for each method, and one for random orders."""
    import interp

    start, refused, found = time.perf_counter(), {}, {}
    for method in given.methods.split(","):
        more = {"samples": given.samples} if method == "shapley" else {}
        try:
            baseline = None if method == "saliency" else "zero"
            found[method] = interp.attribute_tokens(
                model, task, method=method, metric=metric, baseline=baseline, seed=given.seed, **more
            )
        except interp.InterpError as error:
            refused[method] = str(error)
    judged = interp.evaluate_tokens(
        model, task, found, measures=MEASURES, metric=metric, baseline="zero", orders=given.orders, draws=given.draws,
        seed=given.seed,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    say(
        f"{judged.model}, {judged.task}: {judged.n_pairs} prompts, {judged.groups:.3g} tokens each (mean), {judged.metric}, baseline zero, "
        f"seed {judged.seed}; `shapley` {given.samples} orders, infidelity {judged.draws} draws; {seconds:.0f} s.\n"
    )
    columns = [f"{name} ({'+' if judged[next(iter(found)), name].better == 'higher' else '-'})" for name in MEASURES]
    say(markdown(("method", *columns), rows(judged, found)))
    for method, reason in refused.items():
        say(f"\n`{method}`: {reason}")
    say("")


def rows(judged: Any, methods: Any) -> Iterator[tuple[str, ...]]:
    """The estimates with their intervals; of random orders the mean with the lowest and the highest."""
    for method in methods:
        yield f"`{method}`", *(cell(judged[method, name].estimate) for name in MEASURES)
    first = next(iter(methods))
    yield "random orders", *(cell(judged[first, name].random) for name in MEASURES)


def cell(estimate: Any) -> str:
    if estimate is None or estimate.value is None:
        return "-"
    interval = "" if estimate.low is None else f" [{estimate.low:.2f}, {estimate.high:.2f}]"
    return f"{estimate.value:.2f}{interval}"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
