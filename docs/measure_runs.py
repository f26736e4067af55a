"""Measures what `circuits discover` spends, from the manifests of its runs, and what a search of every size would find.

    python docs/measure_runs.py RUN [RUN ...]

The first table has the forwards of every phase; one forward is a plain one of all scored pairs, with all logits. The second
tries every size of the run's ranking on the scored pairs, on the model and the task of the run. The result is Markdown tables.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tables import markdown, say

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

PHASES = ("accuracy", "scoring", "searching", "evaluating", "anatomy", "mapping", "prompts")


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="What the main job spends, and what every size would give.")
    parser.add_argument("runs", nargs="+", type=Path, help="directories of runs of discover at a level of nodes")
    parser.add_argument("--target", type=float, default=0.9, help="the smallest faithfulness")
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    from circuits.runs.record_files import load_record

    records = [load_record(path) for path in given.runs]
    say("Forwards of the scored pairs, by phase:\n")
    say(markdown(("run", *PHASES, "in all", "circuits", "seconds"), (costs(record.manifest) for record in records)))
    say("\nThe smallest faithful circuit on the scored pairs, by steps and halving and by every size:\n")
    columns = ("run", "found", "f", "runs of circuits", "forwards", "every size", "f", "runs of circuits", "forwards")
    say(markdown(columns, (sizes(record, given.target) for record in records)))
    return 0


def named(manifest: Mapping[str, Any]) -> str:
    """Model, task and scored pairs of a run."""
    task = manifest["task"]
    return f"{manifest['model']['name']}, {task['name']}, {task['scored']} of {task['pairs']} pairs"


def costs(manifest: Mapping[str, Any]) -> list[str]:
    """One row of the first table."""
    phases = manifest["forwards_by_phase"]
    spent = [f"{phases.get(name, 0):.1f}" for name in PHASES]
    return [
        named(manifest), *spent, f"{manifest['forwards_total']:.1f}", str(manifest["circuits_run"]), f"{manifest['seconds']:.0f}",
    ]  # fmt: skip


def sizes(record: Any, target: float) -> Iterator[str]:
    """One row of the second table."""
    import interp
    from circuits.evaluation.smallest import find_smallest
    from circuits.settings.held_out import Halves
    from interp.ledger import counting

    options = record.manifest["options"]
    model = interp.load(options["model"], dtype=options.get("dtype"))
    task = interp.task(options["task"], model, n=options.get("limit"), seed=options["seed"])
    scoring = Halves.of(task, task.tokenize(model.tokenizer, model.layout.d_vocab), options["seed"], True).scoring
    pairs = scoring.tokenize(model.tokenizer, model.layout.d_vocab)
    forward = sum(model.prices.forward(1, pair.length) for pair in pairs)
    yield named(record.manifest)
    for every in (False, True):
        with counting() as ledger:
            found = find_smallest(model, scoring, record.scores[0], target=target, every=every)
        yield from ("none" if found.size is None else str(found.size), str(found.best))
        yield from (str(ledger.circuits), f"{ledger.total / forward:.1f}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
