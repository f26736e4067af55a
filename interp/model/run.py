"""One forward pass with reads, edits and rules: everything is attached before it, and nothing is left after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import SiteError
from interp.model.chains.chained import Conductor, Course, conductors, in_place
from interp.model.coverage.attaching import attach_gates, attach_rules
from interp.model.coverage.operations import Operations
from interp.model.edits import applied
from interp.model.modules import attention, batch_norms
from interp.model.modules.calling import only_records
from interp.model.modules.lock import frozen, no_inference_tensors, running
from interp.model.modules.tensors import (
    activation_in,
    activation_out,
    argument_of,
    with_activation,
    with_argument,
    with_output,
)
from interp.model.operands import Averaged
from interp.model.plan import Plan
from interp.model.vocabulary import Columns
from interp.parts.layout import Layout
from interp.parts.ports import Port, from_site, laid_out, port, to_site, unscaled
from interp.parts.sites import CROSS, ENTERING, MODULE, Site
from interp.rules.mixtures import Mixtures
from interp.rules.surrogate import scale_gradient, surrogate


@dataclass(frozen=True)
class Attending:
    """Which attention a module computes: of the stack with this prefix, in which layer, and what comes before the kinds of its sites."""

    stack: str
    layer: int
    before: str

    def site(self, kind: str) -> Site:
        """One of its sites: q, k, v or pattern."""
        return Site(self.before + kind, self.layer, stack=self.stack)


def attending(model: Any, layout: Layout) -> dict[int, Attending]:
    """The attentions of a model, by the identity of the module that computes each."""
    return {
        id(model.get_submodule(own.module)): Attending(stack.name, layer, CROSS if own is block.cross else "")
        for stack in layout.stacks
        for layer, block in enumerate(stack.blocks)
        for own in block.attentions
    }


class Ended(Exception):
    """Ends a forward pass where all of its sites were seen."""


@dataclass
class _Run:
    """The state of one run while it lasts."""

    model: Any
    layout: Layout
    operations: Operations
    plan: Plan
    batch: int
    found: dict[Site, Tensor] = field(default_factory=dict)
    entering: dict[Site, Tensor] = field(default_factory=dict)
    attending: dict[int, Attending] = field(default_factory=dict)
    met: set[Site] = field(default_factory=set)
    standing: Mapping[str, Conductor] = field(default_factory=dict)
    visited: set[Site] = field(default_factory=set)

    @cached_property
    def mixtures(self) -> Mixtures:
        """What gives rules to MLPs function by function."""
        return Mixtures(self.plan.rules)

    @cached_property
    def averaged(self) -> Averaged:
        """What keeps the operands of this run, or averages its operations toward another."""
        return Averaged(
            self.model, self.layout, self.operations, self.plan.rules.secants, self.plan.keep, self.plan.toward
        )

    def logits(self, inputs: Mapping[str, Any], columns: Columns | None) -> Tensor:
        """The logits of the run, or those of some tokens; all are computed where somebody reads or edits them."""
        site = Site("logits")
        capped = self.layout.logits_softcap is not None and (self.plan.keep or self.plan.toward)
        if columns is not None and not capped and site not in self.plan.touched:
            return columns.logits(self.model, inputs)
        logits = self.visit(site, self.averaged.logits(self.layout.output(self.model(**inputs), inputs)))
        return logits if columns is None else columns.chosen(logits)

    # ------------------------------------------------------------ one site

    def visit(self, site: Site, x: Tensor) -> Tensor:
        """The site's tensor after its edits; recorded if it is read.

        What enters the blocks is where gradients end: a leaf, unless a caller's own graph reaches it.
        """
        for edit in self.plan.edits.get(site, ()):
            x = applied(edit, site, x)
        if site.kind in ENTERING and not site.part and torch.is_grad_enabled() and not x.requires_grad:
            x = x.detach().requires_grad_()
        if site in self.plan.entered:
            self.entering[site] = x
        if (splice := self.plan.splices.get(site)) is not None:
            x = splice(x, self.entering[splice.dictionary.site], self.visit)
        if site in self.plan.reads:
            self.found[site] = x
        if self.plan.ends:
            self.visited.add(site)
            if self.visited >= self.plan.touched:
                raise Ended
        return x

    def through(self, site: Site, at: Port, x: Tensor) -> Tensor:
        """The tensor that the model goes on with, for the tensor `x` that it has at this port. No rule acts on what is done to it. Entries
        that no edit changes stay bit for bit, also where the site's value is a multiple of them."""
        self.mixtures.pause()
        found = self._through(site, at, x)
        self.mixtures.resume(found)
        return found

    def _through(self, site: Site, at: Port, x: Tensor) -> Tensor:
        value = to_site(x, at, self.batch)
        seen = self.visit(site, value)
        if not at.scaled:
            return from_site(seen, at, x)
        kept = x
        if self.plan.changes(site):
            kept = torch.where((seen == value).reshape(x.shape), x, from_site(seen, at, x))
        return (
            surrogate(seen, kept, lambda grad: unscaled(grad.reshape(seen.shape), at)) if seen.requires_grad else kept
        )

    def meet(self, site: Site) -> None:
        """Raises: SiteError where the module of a site is called a second time, so that there is no one value at it."""
        if site.kind == MODULE and site in self.met:
            raise SiteError(
                f"site '{site}': {site.path} is called several times in a run, so there is no one value there."
            )
        self.met.add(site)

    def check_unwritten(self, site: Site) -> tuple[Any, Any]:
        """Hooks around a module whose input is a site. Raises: SiteError where it writes into what it reads, which a read would then be."""
        seen: list[tuple[Tensor, int]] = []

        def before(module: nn.Module, args: Any, kwargs: Any) -> None:
            x = activation_in(args, kwargs)
            seen.append((x, x._version))

        def behind(module: nn.Module, args: Any, output: Any) -> None:
            x, version = seen.pop()
            if x._version != version:
                raise SiteError(
                    f"site '{site}': {site.path} writes into what it reads; read what the module before it returns."
                )

        return before, behind

    def read_input(self, site: Site, at: Port) -> Any:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> Any:
            self.meet(site)
            x = _tensor_at(site, argument_of, args, kwargs, at.argument)
            if at.where == "input_copy":
                x = x.view_as(x)
            return with_argument(args, kwargs, at.argument, self.through(site, at, x))

        return hook

    def write_input(self, site: Site, at: Port) -> Any:
        """Edit the residual stream itself, which the skip connection also reads: written in place."""

        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            x = activation_in(args, kwargs)
            value = x
            # A block that flattens: its tensor must depend on what is read.
            if x.ndim != 3 or site in self.plan.splices or site in self.plan.edits:
                value = to_site(x.clone(), at, self.batch)
            seen = self.visit(site, value)
            if value is not x:
                x.copy_(from_site(seen, at, x))

        return hook

    def read_output(self, site: Site, at: Port) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> Any:
            self.meet(site)
            new = self.through(site, at, _tensor_at(site, activation_out, output))
            return with_output(output, laid_out(new.clone(), new) if at.shield else new)

        return hook

    def around_attention(
        self, module: nn.Module, native: attention.Native, q: Tensor, k: Tensor, v: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Reads, edits and rules of one layer's attention; q, k, v are recorded before the rule's coefficients."""
        own = self.attending[id(module)]
        if self.plan.split_kv and (group := q.shape[1] // k.shape[1]) > 1:
            native = attention.per_query_head(native, group)
            k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
        q, k, v = (
            self.visit(own.site(kind), x.transpose(1, 2)).transpose(1, 2) if own.site(kind) in self.plan.touched else x
            for kind, x in (("q", q), ("k", k), ("v", v))
        )
        rule = self.plan.rules.attention
        native = attention.ruled(self.averaged.attention(own.site("q"), native), rule.qk, rule.v, rule.temperature)
        z, pattern = native(q, k, v)
        site = own.site("pattern")
        seen = self.visit(site, pattern)
        if self.plan.changes(site):
            values = scale_gradient(v, rule.v).repeat_interleave(q.shape[1] // v.shape[1], dim=1)
            z = torch.matmul(seen.to(v.dtype), values).transpose(1, 2).contiguous()
        return z, seen

    # ------------------------------------------------------------ attaching

    def attach(self, stack: ExitStack) -> None:
        """Hooks in the order in which they must fire: rules of gates, sites before a module, other rules, sites after it."""
        sites = self.plan.sites()
        if torch.is_grad_enabled():
            stack.enter_context(frozen(self.model))
            batch_norms.attach(stack, self.model)
            firsts = [Site(ENTERING[0], stack=stack.name) for stack in self.layout.stacks]
            sites = [*(first for first in firsts if first not in sites), *sites]
            attach_gates(stack, self.model, self.layout, self.operations, self.plan.rules)
        self.averaged.attach_products(stack)
        hooks = [(site, port(site, self.layout).of(self.model)) for site in sites]
        for site, at in hooks:
            if at.where in ("input", "input_copy"):
                self._on_input(stack, at.path, self.read_input(site, at), first=site.kind == ENTERING[0])
                if at.form == "own":
                    before, behind = self.check_unwritten(site)
                    self._on_input(stack, at.path, before)
                    stack.callback(self._module(at.path).register_forward_hook(behind).remove)
            elif at.where == "input_inplace":
                self._on_input(stack, at.path, self.write_input(site, at))
        if torch.is_grad_enabled():
            attach_rules(stack, self.model, self.layout, self.operations, self.plan.rules, self.mixtures)
        self.averaged.attach(stack)
        for path in self.operations.inplace:
            self._on_input(stack, path, _copied)
        self._attach_behind(stack, [(site, at) for site, at in hooks if at.where == "output"])

    def _attach_behind(self, stack: ExitStack, hooks: Sequence[tuple[Site, Port]]) -> None:
        """Sites after a module. Behind blocks they stand before the hooks by which transformers keeps streams, which are what a backbone gives,
        where nobody else's hooks are."""
        blocks = {block.path for block in self.layout.every_block}
        first = {at.path for _, at in hooks if at.path in blocks and _only_kept(self._module(at.path))}
        for site, at in (
            *(x for x in hooks if x[1].path not in first),
            *(x for x in hooks[::-1] if x[1].path in first),
        ):
            own = self._module(at.path).register_forward_hook(self.read_output(site, at), prepend=at.path in first)
            stack.callback(own.remove)

    def _module(self, path: str) -> nn.Module:
        return self.model.get_submodule(path)  # type: ignore[no-any-return]

    def _on_input(self, stack: ExitStack, path: str, hook: Any, *, first: bool = False) -> None:
        """A hook in front of a module; first: of a block in another chain, in front of where the model calls it."""
        module = self.standing.get(path, self._module(path)) if first else self._module(path)
        stack.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)


def _copied(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """A module that writes into what it reads gets a copy of that."""
    return with_activation(args, kwargs, activation_in(args, kwargs).clone())


def _tensor_at(site: Site, find: Any, *given: Any) -> Tensor:
    """The tensor of a site in the arguments or the result of its module. Raises: SiteError where a module has none."""
    try:
        found: Tensor = find(*given)
    except TypeError as error:
        if site.kind != MODULE:
            raise
        raise SiteError(f"site '{site}': {error}.") from error
    return found


def execute(
    model: Any,
    layout: Layout,
    operations: Operations,
    plan: Plan,
    inputs: Mapping[str, Any],
    columns: Columns | None = None,
    courses: Sequence[Course] = (),
) -> tuple[Tensor | None, dict[Site, Tensor]]:
    """The logits of `model(**inputs)` under `plan`, all or those of `columns`, and the tensors it reads; with other chains of blocks along
    `courses`. Without logits where the plan ends before.

    Raises: SiteError where a read was never reached (a module that this input does not call).
    """
    state = _Run(model, layout, operations, plan, len(next(x for x in inputs.values() if isinstance(x, Tensor))))
    state.attending = attending(model, layout)
    state.standing = conductors(model, courses)
    with running(model), no_inference_tensors(), ExitStack() as stack:
        state.attach(stack)
        around = state.around_attention if layout.blocks and plan.needs_attention_function() else None
        stack.enter_context(attention.selected(model, around) if around else nullcontext())
        stack.enter_context(in_place(model, state.standing) if courses else nullcontext())
        logits: Tensor | None = None
        with suppress(Ended):
            logits = state.logits(inputs, columns)
    for course in courses:
        course.check()
    modules = {site for site in plan.touched if site.kind == MODULE}
    if missing := (plan.reads - state.found.keys()) | (modules - state.met):
        raise SiteError(f"never reached in this run: {', '.join(map(str, sorted(missing)))}.")
    return logits, state.found


def _only_kept(module: nn.Module) -> bool:
    """Whether no hook behind a module does more than keep what it gives."""
    return all(map(only_records, module._forward_hooks.values()))
