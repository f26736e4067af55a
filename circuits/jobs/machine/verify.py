"""`circuits verify`: does the toolkit compute on this model what the model itself computes?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from interp.errors import InterpError, TaskError
from interp.model.model import HookedModel
from interp.model.modules import attention
from interp.model.modules.calling import main_input, on_inputs, takes
from interp.model.modules.linear import vocabulary_size
from interp.parts.sites import ATTENTION_KINDS, kind_of
from interp.parts.tokens import Tokens, pad
from interp.rules.rules import GRADIENT, OWN, preset

LENGTHS = (12, 9, 7)
#: What a run takes, by name, batch first.
Given = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Check:
    """One thing that was checked. `passed` None: information, neither right nor wrong."""

    name: str
    passed: bool | None
    detail: str


def verify(model: HookedModel) -> Iterator[Check]:
    """Parity, rules, padding, coverage, conservation and cleanliness, on random tokens of the model's vocabulary, or random inputs of
    the size that it is configured for."""
    given = _given(model)
    before = _hooks(model)
    yield _parity(model, given)
    yield from _presets(model, given)
    yield _padding(model)
    yield from _conservation(model, given)
    yield _failure_leaves_nothing(model, given)
    yield Check("hooks", _hooks(model) == before, "hook tables, attention implementation and parameters are as before")


def _given(model: HookedModel) -> Given:
    """Two random examples of everything that the model needs, by name."""
    generator = torch.Generator().manual_seed(0)
    if model.takes_text:
        return {main_input(model.hf): _drawn(model, (2, _lengths(model)[0]), generator).to(model.device)}
    return {name: _like(x, model.vocabularies.get(name), generator) for name, x in model.probed.items()}


def _like(x: torch.Tensor, n: int | None, generator: torch.Generator) -> torch.Tensor:
    """Two random examples in the form of one, of whole numbers below n where there is such a limit."""
    shape = (2, *x.shape[1:])
    drawn = torch.randn(shape, generator=generator) if n is None else _ids(n, shape, generator)
    return drawn.to(x)


def _lengths(model: HookedModel) -> tuple[int, ...]:
    """Lengths of the prompts, within the model's context."""
    limit = getattr(model.hf.config, "max_position_embeddings", None)
    return tuple(max(1, min(n, limit - i)) if isinstance(limit, int) else n for i, n in enumerate(LENGTHS))


def _drawn(model: HookedModel, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random ids that the model has embeddings for, neither the first nor the last where it has more than two."""
    return _ids(vocabulary_size(model.hf), shape, generator)


def _ids(n: int, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    first, last = (1, n - 1) if n > 2 else (0, n)
    return torch.randint(first, last, shape, generator=generator)


def _plain(model: HookedModel, given: Given, eager: bool) -> torch.Tensor:
    """The model's own logits: under eager attention, or under the implementation that the user chose."""
    old = model.hf.config._attn_implementation
    try:
        if eager and model.layout.attention_function:
            model.hf.set_attn_implementation("eager")
        with torch.no_grad():
            inputs = on_inputs(model.hf, given)
            return model.layout.output(model.hf(**inputs), inputs)
    finally:
        if model.hf.config._attn_implementation != old:
            model.hf.set_attn_implementation(old)


def _parity(model: HookedModel, given: Given) -> Check:
    sites = model.sites()
    with torch.no_grad():
        ours = model.run(given, reads=sites).logits
        plain = model.run(given).logits
    inside = any(kind_of(site) in ATTENTION_KINDS for site in sites)  # not where a layer has no attention
    same = torch.equal(ours, _plain(model, given, eager=inside))
    own = torch.equal(plain, _plain(model, given, eager=False))
    missing = ", ".join(model.missing_sites()) or "none"
    return Check(
        "parity",
        same and own,
        f"logits with every site read equal the plain model's bit for bit; sites missing: {missing}",
    )


def _presets(model: HookedModel, given: Given) -> Iterator[Check]:
    """Every preset: the forward is untouched, or the rules are refused by name."""
    reference = _plain(model, given, eager=False)
    eager = _plain(model, given, eager=True)
    for name, rules in ((own.name, own.rules) for own in OWN if own.rules != GRADIENT):
        try:
            other = (
                model.run({name: x.flip(-1) for name, x in given.items()}, keep_operands=True)
                if rules.secants
                else None
            )
            ours = model.run(given, rules=rules, toward=other).logits.detach()
        except InterpError as error:
            yield Check(f"rules {name}", None, f"refused: {str(error).split('.')[0][:160]}")
            continue
        want = eager if rules.in_attention else reference
        rows = model.coverage(rules).rows
        counts = {t: sum(r.treatment == t for r in rows) for t in ("rule", "plain gradient", "unsupported")}
        detail = ", ".join(f"{n} {t}" for t, n in counts.items())
        yield Check(f"rules {name}", torch.equal(ours, want), f"forward bit-identical; coverage: {detail}")


def _padding(model: HookedModel) -> Check:
    """Left, right and no padding give the same logits at the last token; of models that look at whole texts right and none."""
    if not model.takes_text:
        return Check("padding", None, f"{type(model.hf).__name__} takes no text alone: nothing is padded here")
    if not takes(model.hf, "attention_mask"):
        return Check(
            "padding",
            None,
            f"the forward of {type(model.hf).__name__} takes no attention_mask: prompts of one length only",
        )
    sides = ("left", "right") if model.layout.causal else ("right",)
    try:
        gaps = _gaps(model, sides)
    except TaskError as error:
        return Check("padding", None, f"refused: {error}")
    limit = 1e-5 if model.dtype in (torch.float32, torch.float64) else 5e-2
    return Check(
        "padding",
        max(gaps) <= limit,
        f"largest relative gap to no padding: {', '.join(f'{s} {gap:.1e}' for s, gap in zip(sides, gaps, strict=True))}, limit {limit:.0e}",
    )


def _gaps(model: HookedModel, sides: Sequence[str]) -> list[float]:
    """How far the logits at the last token are from those without padding, relative to the largest of these. Raises: TaskError."""
    generator = torch.Generator().manual_seed(1)
    prompts = [_drawn(model, (n,), generator).tolist() for n in _lengths(model)]
    gaps = []
    with torch.no_grad():
        alone = torch.cat([model.run(prompt).logits[:, -1] for prompt in prompts]).double()
        for side in sides:
            tokens: Tokens = pad(prompts, side=side).to(model.device)  # type: ignore[arg-type]
            logits = model.run(tokens).logits
            at = tokens.last() if logits.shape[1] == tokens.ids.shape[1] else 0
            last = logits[torch.arange(len(prompts), device=logits.device), at].double()
            gaps.append(float((last - alone).abs().max() / alone.abs().max()))
    return gaps


def _conservation(model: HookedModel, given: Given) -> Iterator[Check]:
    """Relevance that arrives where the inputs enter over the logit it came from. Exact only for relp-ah without biases."""
    beside = [str(site) for site in model.layout.layer_inputs]
    embeds = [*(site for site in model.sites() if kind_of(site) == "embed"), *beside]
    where = "the embedding and what layers are given beside it" if beside else "the embedding"
    for name in ("relp", "relp-ah"):
        try:
            with torch.enable_grad():
                run = model.run(given, reads=embeds, rules=preset(name))
                top = run.logits[:, -1].max(-1).values
                coefficients = torch.autograd.grad(top.sum(), [run[site] for site in embeds])
        except InterpError:
            continue
        arrived = sum((c * run[site]).double().sum() for c, site in zip(coefficients, embeds, strict=True))
        share = arrived / top.double().sum()
        yield Check(
            f"conservation {name}",
            None,
            f"relevance at {where} over the top logit: {share:.4f} (1 for relp-ah without biases)",
        )


def _failure_leaves_nothing(model: HookedModel, given: Given) -> Check:
    """A run that fails in the middle leaves the model as it was."""
    from interp.model.edits import Edit

    before = _hooks(model)
    last = [site for site in model.sites() if kind_of(site) == "resid_post"][-1]

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise _Deliberate

    try:
        model.run(given, reads=model.sites(), edits=[Edit(last, fail)])
    except _Deliberate:
        return Check("failed run", _hooks(model) == before, "a run that fails in the middle leaves the model as it was")
    return Check("failed run", False, "an edit that raises was never reached")


class _Deliberate(Exception):
    """Raised inside a run to see what it leaves."""


def _hooks(model: HookedModel) -> list[Any]:
    """Everything that a run could leave behind."""
    tables: tuple[Callable[[Any], Any], ...] = (
        lambda m: len(m._forward_hooks),
        lambda m: len(m._forward_pre_hooks),
        lambda m: len(m._forward_hooks_with_kwargs),
        lambda m: len(m._forward_pre_hooks_with_kwargs),
    )
    state = [tuple(table(m) for table in tables) for m in model.hf.modules()]
    flags = [p.requires_grad for p in model.hf.parameters()]
    return [state, flags, model.hf.training, model.hf.config._attn_implementation, attention.active()]
