"""What a run shows besides its scores and circuit: accuracy, the map of layers and positions, a few prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from circuits.anatomy.prompts import Prompt
from circuits.settings.prepared import Prepared, Say, begin
from interp.attribution.asking.planning import plan
from interp.attribution.batching.batch_sizes import default_batch_size
from interp.attribution.methods import get_method
from interp.attribution.scoring.driver import LOW_ACCURACY
from interp.attribution.token_methods import METHODS as TOKEN_METHODS
from interp.parts.named_inputs import Example as Input
from interp.pictures.input_picture import Picture
from interp.pictures.picturing import pictures
from interp.scores.scores import Scores
from interp.tasks.lengths import by_length
from interp.tasks.metric import Metric
from interp.tasks.metrics import METRICS, get_metric
from interp.tasks.pairs.pairs import Pair
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import Targets, at_answers, make_targets, positions_read
from interp.tasks.task import Task

SHOWN_PROMPTS: Final = 4


def _first(logits: Tensor, t: Targets) -> Tensor:
    best = logits.argmax(-1)
    last = best if t.forced is None else best[:, -1]
    right = t.answers.gather(1, last[:, None]).squeeze(1) > 0
    return (right if t.forced is None else right & ((t.forced < 0) | (best[:, :-1] == t.forced)).all(1)).double()


#: 1 where the most probable token is an answer; of an answer of several tokens where each of them is, behind those before it.
_FIRST: Final = Metric(
    "first", _first, "share of prompts", "whether the most probable token is an answer", needs_wrong=False, several=True
)


def measure_accuracy(model: Any, task: Task, say: Say, *, several: bool = False) -> dict[str, float]:
    """Share of pairs whose logit difference has the right sign: on clean prompts, and reversed on corrupt ones.

    Where pairs have no wrong tokens: the share of clean prompts whose most probable next token is an answer, and `say` says so.
    several: as in `Task.tokenize`.
    """
    pairs = task.tokenize(model.tokenizer, model.outputs, several=several)
    if not all(pair.wrong for pair in pairs):
        say(_without_wrong(task, pairs))
        right = {"clean": float(measure(model, pairs, "clean", _FIRST).mean())}
    else:
        right = {
            "clean": float((measure(model, pairs, "clean", METRICS["logit_diff"]) > 0).double().mean()),
            "corrupt": float((measure(model, pairs, "corrupt", METRICS["logit_diff"]) < 0).double().mean()),
        }
    if right["clean"] < LOW_ACCURACY:
        say(
            f"WARNING: the model answers only {right['clean']:.0%} of the clean prompts of {task.name!r} right "
            f"(below {LOW_ACCURACY:.0%}); a circuit for a task that the model cannot do means little."
        )
    return right


def _without_wrong(task: Task, pairs: Sequence[TokenPair]) -> str:
    """What right means where a pair has no wrong tokens."""
    if any(pair.forced for pair in pairs):
        return (
            f"NOTE: answers of task {task.name!r} are several tokens: right is a clean prompt behind which each of them is the "
            "most probable"
        )
    return f"NOTE: task {task.name!r} names no wrong answers: right is a clean prompt whose most probable next token is an answer"


def measure(model: Any, pairs: Sequence[TokenPair], which: str, metric: Metric) -> torch.Tensor:
    """A metric where the `clean` or `corrupt` prompts give the answer [example]."""
    found = torch.empty(len(pairs), dtype=torch.float64)
    size = default_batch_size(model, max(p.longest for p in pairs))
    for index in by_length([p.shape for p in pairs], size):
        batch = [pairs[i] for i in index]
        with torch.no_grad():
            given = run_of([getattr(p, which) for p in batch])
            logits = at_answers(model.run(given, logits_to_keep=positions_read(batch)).logits, batch)
        targets = make_targets(batch, model.layout.d_vocab, logits.device)
        found[index] = metric(logits, targets).double().cpu()
    return found


def score_positions(job: Prepared, say: Say) -> tuple[Scores, dict[str, tuple[str, ...]]]:
    """The residual stream of each stack by layer and position, and the tokens of one prompt to label the positions with, by stack.

    Prompts of several lengths are aligned at their end.
    """
    method, stacks = mapping_method(job), job.model.layout.stacks
    begin(say, "mapping", f"mapping layers and positions with {method}")
    found = [_map_of_stack(job, method, stack.name if len(stacks) > 1 else None) for stack in stacks]
    labels = {stack.name: texts for stack, (_, texts) in zip(stacks, found, strict=True)}
    (first, _), *rest = found
    if rest:
        parts = tuple(part for scores, _ in found for part in scores.parts)
        first = replace(first, parts=parts, per_example=np.concatenate([scores.per_example for scores, _ in found], 1))
    return first, labels


def _map_of_stack(job: Prepared, method: str, stack: str | None) -> tuple[Scores, tuple[str, ...]]:
    """The stream of one stack, None for the only one, and the texts of its positions."""
    own = [pair if stack is None else pair.of_stack(stack) for pair in job.request.pairs]
    mode = "each" if len({len(p.prompts[0]) for p in own}) == 1 else "end"
    path = job.settings.path if get_method(method).uses_steps else {}
    request = job.settings.elsewhere(method, "resid", positions=mode, stack=stack, **path)
    scores = plan(job.model, job.scoring, request).score()[method]
    shortest = min((p.prompts[0] for p in own), key=len)
    texts = job.model.positions(shortest, stack or job.model.layout.name)
    return scores, tuple(texts[label] if isinstance(label, int) else "…" for label in scores.positions())


def mapping_method(job: Prepared) -> str:
    """The method of the map: the leading one of the run where it scores nodes, else gradients, integrated if it integrates them or if
    the metric is flat at the base run. Exact patching of every position is long, so `exact` shows gradients too.
    """
    own = get_method(job.leading)
    if own.scores("resid") and not own.exact and own.name != "random":
        return own.name
    return "atp-ig" if own.uses_steps or get_metric(job.settings.metric).toward == "base" else "atp"


def show_prompts(job: Prepared, say: Say) -> tuple[Prompt, ...]:
    """The first few pairs as text, with the attribution of the metric to their tokens."""
    from interp.attribution.token_attribution import attribute_tokens

    task, metric = job.task.limit(min(SHOWN_PROMPTS, len(job.task))), shown_metric(job.settings.metric, job.task)
    begin(say, "prompts", "attributing to the tokens of a few prompts")
    pairs = job.tokens(task)
    values = {which: measure(job.model, pairs, which, metric) for which in ("clean", "corrupt")}
    own = next((m for m in (job.leading, *job.settings.methods) if m in TOKEN_METHODS), "gradient-x-input")
    by_method = {m: attribute_tokens(job.model, task, method=m, metric=metric) for m in ("integrated-gradients", own)}
    stack = job.model.layout.stacks[0].name
    return tuple(
        Prompt(
            clean_tokens=job.model.positions(pair.clean, stack),
            corrupt_tokens=job.model.positions(pair.corrupt, stack),
            answers=answers_in_words(pair, job.model.output_text),
            wrong=tuple(map(job.model.output_text, pair.wrong)),
            clean_metric=float(values["clean"][i]),
            corrupt_metric=float(values["corrupt"][i]),
            attributions={m: tuple(map(float, found.values[i])) for m, found in by_method.items()},
            metric=metric.name,
            unit=metric.unit,
            segments=segments_of(job.model, pair),
            **pictures_of(job.model, pair, task.pairs[i]),
        )
        for i, pair in enumerate(pairs)
    )


def pictures_of(model: Any, pair: TokenPair, named: Pair) -> dict[str, Picture]:
    """`clean_picture` and `corrupt_picture` of a pair that is no text; nothing of one that is, and where it is not known how it looks."""
    if model.takes_text or not isinstance(pair.clean, Input):
        return {}
    found = pictures(model, [pair.clean, pair.corrupt], [named.clean, named.corrupt])
    return {} if found is None else dict(zip(("clean_picture", "corrupt_picture"), found, strict=True))


def segments_of(model: Any, pair: TokenPair) -> tuple[int, ...]:
    """Of each token of a pair of two texts which of them it belongs to, from 1; nothing of other pairs."""
    types = model.tokenize(pair.clean).types if model.takes_text and isinstance(pair.clean, Input) else None
    return () if types is None else tuple(1 + i for i in types[0].tolist())


def answers_in_words(pair: TokenPair, text: Callable[[int], str]) -> tuple[str, ...]:
    """The answers as text: of one of several tokens all of it, also what is run behind the prompt."""
    return ("".join(map(text, pair.continuation)),) if pair.forced else tuple(map(text, pair.answers))


def shown_metric(name: str, task: Task) -> Metric:
    """The run's metric where it is one of a single prompt, else the logit difference; without wrong tokens the log-probability."""
    metric = get_metric(name)
    if metric.toward == "clean" and not metric.normalised:
        return metric
    return METRICS["logit_diff" if all(pair.has_wrong for pair in task.pairs) else "log_prob"]
