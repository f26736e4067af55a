"""What is judged: methods by name, attributions that were made, or values from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from interp.attribution.token_methods import METHODS, get_token_method
from interp.attribution.token_request import TokenOptions, TokenRequest, plan
from interp.attribution.tokens.token_job import Baseline
from interp.attribution.tokens.token_values import TokenAttribution
from interp.errors import MethodError

#: One method: its name, what it gave, or a row of numbers for each prompt, one for each group.
Attribution = str | TokenAttribution | Sequence[Sequence[float]]
Attributions = Attribution | Sequence[str | TokenAttribution] | Mapping[str, Attribution]


@dataclass(frozen=True, eq=False)
class Judged:
    """The values of one method on every prompt, and the request that makes them again, where there is one. other_unit: they are in another unit
    than the metric, so that only their order and scale can be judged."""

    name: str
    rows: tuple[np.ndarray, ...]
    request: TokenRequest | None
    other_unit: bool = False


def judged(base: TokenRequest, named: Mapping[str, Any], show: bool | None) -> list[Judged]:
    """The values of everything that is to be judged, on the pairs and groups of `base`.

    Raises: MethodError for values of other prompts or groups, of another metric, or not finite.
    """
    return [_one(base, name, given, show) for name, given in named.items()]


def by_name(given: Attributions) -> dict[str, Any]:
    """Name -> what is judged. Raises: MethodError for none, for two of one name, and for names of no method."""
    found = dict(given) if isinstance(given, Mapping) else _named(given)
    if not found:
        raise MethodError("attributions: none given; expected names of token methods, or what attribute_tokens gave.")
    for one in found.values():
        if isinstance(one, str):
            get_token_method(one)
    return found


def _named(given: Any) -> dict[str, Any]:
    """The same of one or a list. Raises: MethodError."""
    if not isinstance(given, (str, TokenAttribution, list, tuple)):
        given = [given]
    several: list[Any] = [given] if isinstance(given, (str, TokenAttribution)) else list(given)
    if odd := [one for one in several if not isinstance(one, (str, TokenAttribution))]:
        raise MethodError(
            f"attributions: given {odd[0]!r:.80}; expected names of token methods, what attribute_tokens gave, or numbers by a name: "
            "{'mine': rows}."
        )
    names = [one if isinstance(one, str) else one.method for one in several]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise MethodError(
            f"attributions: {twice!r} is there twice; give them by names of your own: {{'a': ..., 'b': ...}}."
        )
    return dict(zip(names, several, strict=True))


def _one(base: TokenRequest, name: str, given: Any, show: bool | None) -> Judged:
    if isinstance(given, str):
        request = _again(base, TokenOptions(method=given))
        return Judged(name, tuple(request.job.score(request.pairs, show)[0]), request, bool(request.job.method.unit))
    if not isinstance(given, TokenAttribution):
        return Judged(name, _rows(base, name, given), None)
    if given.metric != base.job.metric.name:
        raise MethodError(
            f"attribution {name!r} is of metric {given.metric!r}, and metric {base.job.metric.name!r} is judged; expected the same."
        )
    if given.tokens != tuple(own.names for own in base.groups):
        raise MethodError(
            f"attribution {name!r} is of other prompts or groups ({len(given.tokens)} prompts, features {given.features!r}) than those that are "
            f"judged ({len(base.pairs)}); give the same task, limit, features and target."
        )
    return Judged(name, _rows(base, name, given.values), _same(base, given), given.unit != base.job.metric.unit)


def _rows(base: TokenRequest, name: str, given: Any) -> tuple[np.ndarray, ...]:
    """Numbers for each prompt and group. Raises: MethodError."""
    rows = tuple(np.asarray(row, dtype=np.float64) for row in given)
    sizes, wanted = [list(row.shape) for row in rows], [[len(own.names)] for own in base.groups]
    if sizes != wanted:
        at = next((i for i, (a, b) in enumerate(zip(sizes, wanted, strict=False)) if a != b), None)
        what = f"{len(rows)} prompts" if at is None else f"numbers of shape {sizes[at]} for prompt {at + 1}"
        raise MethodError(
            f"attribution {name!r}: {what}; expected {len(wanted)} prompts{'' if at is None else f', {wanted[at]} there'}."
        )
    if not all(np.isfinite(row).all() for row in rows):
        raise MethodError(f"attribution {name!r}: some numbers are not finite (nan, inf).")
    return rows


def _same(base: TokenRequest, given: TokenAttribution) -> TokenRequest | None:
    """The request that made an attribution; None where a baseline of a user's own is not that of the evaluation, or the method is not known."""
    own = base.job.baseline if given.baseline == "own" else given.baseline
    if given.method not in METHODS or (given.baseline == "own" and not isinstance(own, Tensor)):
        return None
    options = TokenOptions(
        method=given.method,
        baseline=own,  # type: ignore[arg-type]
        steps=given.steps,
        samples=given.samples,
        window=given.window,
        noise=given.noise,
        seed=given.seed or 0,
    )
    return _again(base, options)


def _again(base: TokenRequest, options: TokenOptions) -> TokenRequest:
    """A request of a method on the task of the evaluation; with its baseline, where the method takes it and no other is asked for."""
    method = get_token_method(options.method)
    baseline: Baseline | Tensor | None = options.baseline
    if baseline is None:
        taken = (
            len(method.baselines) > 1
            if isinstance(base.job.baseline, Tensor)
            else base.job.baseline in method.baselines
        )
        baseline = base.job.baseline if taken else None
    asked = base.options
    options = replace(
        options,
        baseline=baseline,
        metric=base.job.metric,
        features=asked.features,
        target=asked.target,
        limit=asked.limit,
        batch_size=asked.batch_size,
    )
    return plan(base.job.model, base.given, options)
