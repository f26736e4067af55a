"""Measures what rankings of neurons are worth: under each measure, what zeroing the first of them does beside random ones.

    python docs/measure_effects.py
    python docs/measure_effects.py --models A,B --task ioi --pairs 64 --check 10

The second table has what zeroing the first neurons and random ones did, the third the last block. The result is Markdown tables.
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

MEASURES = ("log_prob_increase", "logit", "logit_diff")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="What rankings of neurons are worth.")
    parser.add_argument("--models", default="demo", help="'demo', folders, or hf:ORG/NAME, commas between them")
    parser.add_argument("--task", default="ioi", help="a built-in task or a file")
    parser.add_argument("--pairs", type=int, default=32, help="the first so many")
    parser.add_argument("--check", type=int, default=10, help="how many neurons are zeroed")
    parser.add_argument("--draws", type=int, default=5, help="draws of as many random ones")
    parser.add_argument("--screen", type=int, default=None, help="at most so many are measured exactly")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import interp
    from interp.tasks.find import alike

    rows, blocks = [], []
    for name in given.models.split(","):
        model = interp.load(name)
        task, _ = alike(given.task, model, n=given.pairs)
        rows += ranked(model, task, given)
        blocks += halves(model, task)
    say(
        f"Task {Path(given.task).stem}: the first {given.check} neurons by each measure, zeroed at every position. Nats and logits.\n"
    )
    measured = ("zeroed: log p", "logit", "logit difference", "prompts lowered", f"random, {given.draws} draws: log p")
    columns = ("model", "measure", "neurons", "first three", *measured, "believed", "places proved", "seconds")
    say(markdown(columns, rows))
    say("\nThe last block: what attention and MLP add to the answer.\n")
    of_prompts = ("logit", "logit lowered", "log p", "log p lowered")
    say(markdown(("model", "half", "p before", "p behind", *of_prompts, "prompts lowered by the block"), blocks))
    return 0


def ranked(model: Any, task: Any, given: argparse.Namespace) -> Iterator[list[str]]:
    """A row for each measure, and one for the difference to the run without the head whose zeroing costs most."""
    import interp

    worst = most_important(model, task)
    layer, head = (int(part[1:]) for part in worst.split("."))
    compared = [
        (f"log_prob_increase, less that without {worst}", "log_prob_increase", [interp.zero(f"z.{layer}", heads=head)])
    ]
    for said, measure, edits in [*((m, m, []) for m in MEASURES), *compared]:
        start = time.perf_counter()
        found = interp.neuron_effects(
            model, task, measure=measure, compare=edits, check=given.check, draws=given.draws, screen=given.screen
        )
        top, *random = found.checks
        drawn = [row.log_prob for row in random]
        first = ", ".join(node.name for node in found.nodes[:3])
        numbers = [f"{top.log_prob:+.3f}", f"{top.logit:+.3f}", f"{top.logit_diff:+.3f}", f"{top.share_lowered:.0%}"]
        spread = f"{sum(drawn) / len(drawn):+.3f} ({min(drawn):+.3f} to {max(drawn):+.3f})"
        believed = "yes" if found.believed else "no"
        end = [spread, believed, f"{found.proved} of {len(found.nodes)}", f"{time.perf_counter() - start:.1f}"]
        yield [model.name, said, f"{found.n_neurons:,}", first, *numbers, *end]


def most_important(model: Any, task: Any) -> str:
    """The head that the answer's log-probability falls most without."""
    import interp

    scores = interp.attribute(
        model,
        task,
        method="exact",
        level="heads",
        ablation="zero",
        direction="noise",
        metric="log_prob",
        show_progress=False,
    )
    heads = [i for i, part in enumerate(scores.parts) if part.kind == "head"]
    return str(scores.parts[min(heads, key=lambda i: scores.mean[i])].name)


def halves(model: Any, task: Any) -> Iterator[list[str]]:
    """A row for each half of the last block."""
    import interp

    found = interp.last_block(model, task)
    for row in found.to_pandas().itertuples():
        numbers = [f"{row.p_before:.3f}", f"{row.p_after:.3f}", f"{row.logit:+.3f}", f"{row.logit_lowered:.0%}"]
        end = [f"{row.increase:+.3f}", f"{row.increase_lowered:.0%}", f"{found.share_lowered:.0%}"]
        yield [model.name, row.half, *numbers, *end]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
