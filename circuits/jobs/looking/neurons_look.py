"""`neurons`: which neurons write the answer, and what zeroing the first of them does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from circuits.console.phases import Telling
from circuits.jobs.inputs import task_of
from circuits.jobs.looking.given_prompts import check_prompts, layers_in
from circuits.jobs.looking.look import Found, look
from circuits.runs.looked import Bars, Looked, Number, Rows, Section, rows_of_table
from circuits.settings.looking_options import NeuronsLook
from interp.effects.neuron_effects import neuron_effects
from interp.effects.neuron_table import NeuronEffects
from interp.errors import InterpError
from interp.formatting.numbers import score, several
from interp.lenses.effect_measures import MEASURES
from interp.model.edits import Edit, zero
from interp.model.model import HookedModel
from interp.whole_numbers import count

_HEAD: Final = re.compile(r"a([0-9]{1,6})\.h([0-9]{1,6})")
_DRAWN: Final = 20


def run(asked: NeuronsLook) -> None:
    """From options to a run directory. Raises: InterpError for bad input, with nothing written."""
    MEASURES[asked.measure]
    count(asked.check, "--check", least=0)
    count(asked.draws, "--draws")
    if asked.screen is not None:
        count(asked.screen, "--screen")
    check_prompts(asked)
    edits = _edits(asked.compare or ())
    look(asked, "neurons", lambda model, say: _work(asked, edits, model, say))


def _edits(heads: Sequence[str]) -> list[Edit]:
    """Edits that zero heads. Raises: InterpError for what is no head."""
    found = [(name, _HEAD.fullmatch(name)) for name in heads]
    if odd := [name for name, match in found if match is None]:
        raise InterpError(f"--compare {odd[0]!r:.40}: expected a head such as a3.h2.")
    return [zero(f"z.{match[1]}", heads=int(match[2])) for _, match in found if match is not None]


def _work(asked: NeuronsLook, edits: list[Edit], model: HookedModel, say: Telling) -> Found:
    task = task_of(asked, model)
    with_neurons = [i for i, block in enumerate(model.layout.blocks) if block.mlp is not None and block.mlp.down]
    layers = layers_in(asked, model, with_neurons) if with_neurons else None
    found = neuron_effects(
        model, task, layers=layers, measure=asked.measure, compare=edits, screen=asked.screen, check=asked.check,
        draws=asked.draws, seed=asked.seed, batch_size=asked.batch_size,
    )  # fmt: skip
    lengths = [pair.length for pair in task.tokenize(model.tokenizer, model.outputs)]
    return Found(_looked(asked, model, found), {"neurons": found}, lengths)


def _looked(asked: NeuronsLook, model: HookedModel, found: NeuronEffects) -> Looked:
    what = f"{asked.measure}, less its value without {', '.join(asked.compare)}" if asked.compare else asked.measure
    of = f"{several(found.n_neurons, 'neuron')}, {several(len(found.per_example), 'prompt')} of {found.task}"
    first = f"By {what}, {found.nodes[0].name} of {model.name} writes most to the answer: {score(float(found.mean[0]))} ({of})."
    means, drawn = found.mean[:_DRAWN], found.nodes[:_DRAWN]
    bars = Bars(
        names=tuple(node.name for node in drawn),
        values=tuple(map(float, means)),
        unit=f"{MEASURES[asked.measure].units}, {what}",
    )
    how = "Directly, where the answer is read, with the final norm frozen; lowered: the share of the prompts."
    proved = f"Of {len(found.nodes):,} that were measured exactly the first {found.proved:,} places are proved."
    text = (how,) if found.proved == found.n_neurons else (how, proved)
    sections = [Section("Neurons", text, rows_of_table(found), bars)]
    numbers = [Number("first", found.nodes[0].name), Number("proved", found.proved)]
    if not found.checks:
        return Looked(f"Neurons of {model.name}", (first,), tuple(sections), tuple(numbers))
    sections.append(
        Section(
            "What zeroing did",
            ("At every position, mean over the prompts, against the model as it is.",),
            _checked(found),
        )
    )
    numbers += [Number("zeroed_top_log_prob", found.checks[0].log_prob), Number("believed", found.believed)]
    return Looked(f"Neurons of {model.name}", (first, _verdict(found)), tuple(sections), tuple(numbers))


def _checked(found: NeuronEffects) -> Rows:
    """A line for each group of neurons that was zeroed."""
    columns = ("zeroed", "log p (nats)", "logit", "logit difference", "share of prompts lowered")
    lines = tuple(
        (f"{len(row.neurons)} {row.which}", row.log_prob, row.logit, row.logit_diff, row.share_lowered)
        for row in found.checks
    )
    return Rows(columns=columns, lines=lines, n=len(lines))


def _verdict(found: NeuronEffects) -> str:
    """What zeroing says of the order."""
    top, *random = found.checks
    drawn = ", ".join(score(row.log_prob) for row in random)
    end = "the order is worth something." if found.believed else "do not believe this order."
    return f"Zeroing the first {len(top.neurons)} changes the answer's log-probability by {score(top.log_prob)}, as many random ones by {drawn}: {end}"
