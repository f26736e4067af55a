"""`tokens`: what each token of the prompts adds to the metric, by several methods, and how good these are; prints tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from circuits.console import printing
from circuits.console.phases import Telling, telling
from circuits.jobs.assessing import check_file
from circuits.jobs.inputs import load_model, said_doubts, task_of
from circuits.settings.prepared import begin, check_seed
from circuits.settings.token_options import TokenScoring
from interp.attribution.token_attribution import attribute_tokens
from interp.attribution.token_methods import get_token_method
from interp.attribution.tokens.token_values import TokenAttribution
from interp.errors import MethodError
from interp.evaluation.evaluate_tokens import evaluate_tokens
from interp.evaluation.token_evaluation import TokenEvaluation
from interp.files import write_text
from interp.formatting.numbers import decimals, number, score, several
from interp.formatting.plain import plain
from interp.formatting.text import token
from interp.model.model import HookedModel
from interp.scores.resampling import Estimate
from interp.tasks.task import Task

#: With fewer groups that can be replaced, there are few orders to compare.
FEW: Final = 3


def run(asked: TokenScoring) -> None:
    """From options to tables. Raises: InterpError for bad input, with nothing written."""
    _check(asked)
    with telling(2 + asked.evaluate, asked.quiet) as say:
        begin(say, "loading", f"loading {asked.model}")
        model = load_model(asked.model, asked.dtype, asked.device, asked.adapter, asked.similar_to)
        with said_doubts(say):
            task = task_of(asked, model)
            found, judged = _work(asked, model, task, say)
    data = {"attributions": [plain(one) for one in found], "evaluation": None if judged is None else judged.to_dict()}
    if asked.out is not None:
        write_text(asked.out, json.dumps(data, indent=1))
    if asked.json:
        printing.as_json(data)
        return
    _show(found, asked.shown)
    if judged is not None:
        _show_judged(judged)


def _check(asked: TokenScoring) -> None:
    """What needs no model to be wrong. Raises: MethodError."""
    for name in asked.names:
        get_token_method(name)
    if not asked.evaluate and (asked.again or asked.truth is not None):
        raise MethodError(f"--{'again' if asked.again else 'truth'} belongs to --evaluate; add it.")
    check_file(asked.out, asked.force)
    check_seed(asked.seed)


def _work(
    asked: TokenScoring, model: HookedModel, task: Task, say: Telling
) -> tuple[list[TokenAttribution], TokenEvaluation | None]:
    """The attributions of every method, and their evaluation where it is asked for."""
    begin(say, "scoring", f"scoring tokens with {', '.join(asked.names)}")
    given: dict[str, Any] = {
        "metric": asked.metric,
        "features": asked.features,
        "target": asked.target,
        "seed": asked.seed,
    }
    found = [
        attribute_tokens(model, task, method=name, baseline=_baseline(asked, name), **given) for name in asked.names
    ]
    if not asked.evaluate:
        return found, None
    begin(say, "judging", "judging the methods")
    more: dict[str, Any] = {
        "measures": "all" if asked.again else None,
        "truth": asked.truth,
        "baseline": asked.baseline or "corrupt",
    }
    return found, evaluate_tokens(model, task, found, **given, **more)


def _baseline(asked: TokenScoring, name: str) -> Any:
    """The baseline where the method takes it, else its own. Raises: MethodError for one that no method has."""
    if asked.baseline not in (None, "corrupt", "zero"):
        raise MethodError(f"--baseline {asked.baseline!r}: expected corrupt or zero.")
    return asked.baseline if asked.baseline in get_token_method(name).baselines else None


def _show(found: Sequence[TokenAttribution], most: int) -> None:
    """The values of the first prompts, a column for each method."""
    first = found[0]
    for i, names in enumerate(first.tokens[:most]):
        columns = [_column(one.values[i]) for one in found]
        rows = [(token(name), *values) for name, *values in zip(names, *columns, strict=True)]
        title = f"prompt {i + 1} of {len(first.tokens)}: {first.metric} {score(first.clean_metric[i])}"
        printing.table(
            title, (first.features.removesuffix("s"), *(f"{one.method} ({one.baseline})" for one in found)), rows
        )


def _column(values: Sequence[float]) -> list[str]:
    digits = decimals(values)
    return [score(value, digits) for value in values]


def _show_judged(judged: TokenEvaluation) -> None:
    title = (
        f"{several(judged.n_pairs, 'pair')}, {number(judged.groups, 1)} {judged.features} of each can be replaced by {judged.baseline}; "
        f"{judged.metric} in {judged.unit}: mean and 95 % interval; mean, lowest and highest of {judged.orders} random orders"
    )
    if judged.groups < FEW:
        printing.say(
            f"WARNING: prompts differ from their baseline in {number(judged.groups, 1)} {judged.features} on average, so an order says little; "
            "judge with --baseline zero, or on prompts that differ in more."
        )
    rows = [(r.method, r.measure, r.better, _interval(r.estimate), _interval(r.random)) for r in judged.rows]
    printing.table(title, ("method", "measure", "better", "value", "random orders"), rows)


def _interval(found: Estimate | None) -> str:
    if found is None or found.value is None:
        return ""
    ends = "" if found.low is None or found.high is None else f" [{number(found.low, 3)}, {number(found.high, 3)}]"
    return number(found.value, 3) + ends
