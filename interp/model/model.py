"""`HookedModel`: a live Hugging Face model, its map, and one pure way to run it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.splice import check_dictionaries, widths
from interp.errors import TaskError
from interp.formatting.showing import card
from interp.ledger import BACKWARD, ledger, spend
from interp.model.chains.chain_runs import courses
from interp.model.chains.chains import Layers, chains_of
from interp.model.coverage.backward import check_gradients, suspects
from interp.model.edits import Edit
from interp.model.held import HeldModel
from interp.model.inputs.answering import asked_for
from interp.model.inputs.encoding import encoded as encoded_of
from interp.model.inputs.encoding import encoded_width, with_encoded
from interp.model.inputs.taking import InputsLike, arguments, sourced, taken
from interp.model.modules.soundness import check_state
from interp.model.operands import Operands
from interp.model.plan import Plan, plan_run
from interp.model.result import Run
from interp.model.run import execute
from interp.model.run_checks import (
    check_chains,
    check_encoded,
    check_lists,
    check_pattern,
    check_value,
    checked_kept,
    checked_other,
)
from interp.model.vocabulary import Columns
from interp.parts.ending import Outcome
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site, SiteLike
from interp.parts.tokens import Tokens
from interp.rules.rules import GRADIENT, Rules


class HookedModel(HeldModel):
    """A `PreTrainedModel`, held as it is: no weight is converted and no module replaced.

    `run` follows torch's grad mode. Under it gradients reach the reads and edits, never the parameters. `edge_maps`: what
    level `edges` has found out about the model, by graph. `restart`: what exact patching has; `padded_on`: the sides that padding was tried on. `origin`: the files that it was made of.
    `processor`: what makes inputs of images or sound, as transformers has it. inputs: an example of what a model takes that is no text,
    to find its layout on, where its configuration does not tell the size.
    """

    def __repr__(self) -> str:
        size = self.layout
        return (
            f"HookedModel({self.name!r}, {type(self.hf).__name__}, layers={size.n_layers}, heads={size.query_heads}, "
            f"{f'kv_heads={size.kv_heads}, ' if size.attention_function else ''}d_model={size.d_model}, d_mlp={size.d_mlp}, dtype={self.dtype})"
        )

    def _repr_html_(self) -> str:
        return str(card(self))

    def inputs(self, source: Any, *, decoder: str | None = None, text: str | Sequence[str] | None = None) -> Inputs:
        """What `run` takes of a model that reads something else than one text, checked.

        source: what it reads first: text or several texts, the file of a picture or a sound, its main input as a tensor, or a mapping as its
        processor returns it. decoder: of an encoder-decoder what the decoder has been given behind its start. text: of two towers what is
        compared with the source. Raises: TaskError.
        """
        return sourced(self, source, decoder, text)

    def encode(self, given: InputsLike) -> Tensor:
        """What the decoder of an encoder-decoder attends to [batch source_pos d_model], for runs without the encoder (`run(..., encoded=)`).
        Raises: TaskError for other models."""
        found = taken(self, given)
        if isinstance(found, Tokens):
            raise TaskError(f"{type(self.hf).__name__} has no decoder that attends to an encoder.")
        return encoded_of(self, found)

    @cached_property
    def encoded_width(self) -> int | None:
        """How many numbers `encode` gives for each position; None where its decoder does not run on these alone, which is tried once."""
        return encoded_width(self) if self.layout.crosses else None

    def run(
        self,
        tokens: InputsLike,
        reads: Sequence[SiteLike] = (),
        edits: Sequence[Edit] = (),
        rules: Rules = GRADIENT,
        *,
        allow_unsupported: bool = False,
        logits_to_keep: int = 0,
        split_kv: bool = False,
        vocabulary: Tensor | None = None,
        dictionaries: Mapping[SiteLike, Dictionary] | None = None,
        keep_operands: bool = False,
        toward: Run | None = None,
        encoded: Tensor | None = None,
        layers: Layers | None = None,
    ) -> Run:
        """One forward pass. A pure function: the model is the same after it as before.

        tokens: text, several texts, ids [pos] or [batch pos], or `Tokens`. Position ids follow the mask. Of a model of images or sound:
        a mapping of names to tensors, batch first, as its processor returns it, or its main input alone.
        reads: sites or kinds (`"z"` is z of all layers). Each comes back after its edits, with its gradient path.
        edits: applied in forward order; several at one site in the order given.
        rules: the backward meaning of norms, activations, gates and attention; the forward stays bit-identical.
        logits_to_keep: compute logits of the last so many positions only; 0 means all. Of a masked language model 1 means those at
        the mask, where every prompt has one.
        split_kv: give every query head its own copy of the keys and values that its group shares, so that the sites k and
        v have one entry per query head.
        vocabulary: token ids [token]; compute their logits only, [batch pos token]. They equal those of a run without it up
        to rounding, not bit for bit.
        dictionaries: by the site that each makes up. Their features and errors are then sites to read and edit
        (`resid_post.3.features`, `resid_post.3.error`); without edits of them the run is the same bit for bit. See
        `interp.dictionaries.splice`.
        keep_operands: keep what norms, activations, products and attention read, so that another run can go toward this one.
        toward: for rules with secants (`interp.DEEPLIFT`) the run, made with `keep_operands`, between which and this one every
        operation is averaged; it is of this model, with the same number of prompts, of the same lengths.

        encoded: what the encoder of an encoder-decoder makes of its input (`model.encode`), which is then not run.

        layers: which blocks are called, in order: `[0, 1, 1, 3]`, `interp.skip(2)`, a list of moves; of a model with several stacks
        a mapping from the prefix of a stack, such as {'encoder': [0, 0, 1]}. Each is called with the arguments, but the stream, that
        the model has for it. Sites of layers that are left out, or called several times, are refused. Cost: the blocks that are called; one
        forward more where blocks return more than the stream.

        Raises: SiteError, EditError, UnsupportedRuleError (unless `allow_unsupported`), MethodError for rules where no gradient
        goes through a module, DictionaryError, InterpError for ids out of range.
        """
        check_state(self.hf)
        check_lists(reads, edits)
        self._check_rules(rules, allow_unsupported)
        operands = Operands(id(self.hf)) if keep_operands else None
        given, kept = taken(self, tokens), checked_kept(logits_to_keep)
        plan = self._plan(given, reads, edits, rules, split_kv, dictionaries, operands, toward)
        columns = None if vocabulary is None or self.outcome is not None else Columns.of(self, vocabulary)
        inputs = arguments(self, given, kept)
        if encoded is not None:
            check_encoded(self, plan.sites(), given, encoded)
            inputs = with_encoded(inputs, encoded)
        chains = {} if layers is None else chains_of(layers, self.layout)
        check_chains(chains, plan, self.layout)
        ways = courses(self, chains, inputs, lambda: self._price(given, kept, columns)) if chains else ()
        made, found = execute(self.hf, self.layout, self.operations, plan, inputs, columns, ways)
        logits = asked_for(self, self._measured(found, made), given, kept)
        if ledger() is not None:
            self._account(logits, self._price(given, kept, columns, encoded=encoded is not None, chains=chains))
        return Run(logits, found, given, self.layout.layers, self.layout.rotary, operands)

    def ending_at(self, sites: SiteLike | Sequence[SiteLike]) -> Self:
        """This model as one whose output is what stands at some sites: the `logits` of its runs are their tensors side by side
        [batch pos number], and its runs end there.

        A view of the same live modules, for metrics that read no logits (`Metric(..., reads=)`). Raises: SiteError for sites that are not there,
        patterns, and sites of several stacks.
        """
        named = [sites] if isinstance(sites, str | Site) else list(sites)
        outcome, layout = Outcome.of([found for name in named for found in self.resolve(name)], self.layout)
        view = copy.copy(self)
        view.outputs, view.layout, view.outcome = self.outputs, layout, outcome
        vars(view).pop("prices", None)
        return view

    def _measured(self, reads: Mapping[Site, Tensor], logits: Tensor | None) -> Tensor:
        """The logits of a run, or what stands in their place."""
        if self.outcome is not None:
            return self.outcome.joined(reads, logits)
        if logits is None:
            raise RuntimeError("a run ended before its logits")
        return logits

    def _plan(
        self,
        given: Tokens | Inputs,
        reads: Sequence[SiteLike],
        edits: Sequence[Edit],
        rules: Rules,
        split_kv: bool,
        dictionaries: Mapping[SiteLike, Dictionary] | None,
        operands: Operands | None,
        toward: Run | None,
    ) -> Plan:
        """What a run does, checked against this model. Raises: as `run`."""
        other = checked_other(rules, toward, given, id(self.hf))
        if dictionaries:
            self.layout.check_blocks("dictionaries")
        spliced = check_dictionaries({} if dictionaries is None else dictionaries, self.layout, widths(self.layout))
        resolved = [(self.resolve(e.site), e) for e in edits]
        check_pattern(type(self.hf).__name__, self.layout, [site for sites, _ in resolved for site in sites], split_kv)
        measured = () if self.outcome is None else self.outcome.reads
        ends = self.outcome is not None and self.outcome.last is not None
        read = [*([site] for site in measured), *(self.resolve(r) for r in reads)]
        return plan_run(read, resolved, rules, split_kv, spliced, operands, other, ends)

    def generate(self, prompt: Any, *, edits: Sequence[Edit] = (), max_new_tokens: int = 20, **options: Any) -> str:
        """Continue `prompt` with the edits in force at every step; options as in `interp.model.steering.generate`."""
        from interp.model.steering import generate

        return generate(self, prompt, edits=edits, max_new_tokens=max_new_tokens, **options)

    def check_gradients(self) -> None:
        """Raises: MethodError naming modules that gradients do not go through. Those that are not known to let them are tried
        on a few tokens, once."""
        found = suspects(self.hf)
        if found and found != self._differentiable:
            check_gradients(self, found)
        self._differentiable = found

    def _check_rules(self, rules: Rules, allow_unsupported: bool) -> None:
        """Raises: UnsupportedRuleError, MethodError where they cannot act on this model. Each set of rules is checked once."""
        check_value(rules)
        if rules == GRADIENT:
            return
        if not allow_unsupported and rules not in self._checked:
            self.coverage(rules).check()
            self._checked.add(rules)
        if torch.is_grad_enabled() and self._differentiable is None:
            self.check_gradients()

    def _price(
        self,
        given: Tokens | Inputs,
        kept: int,
        columns: Columns | None,
        *,
        encoded: bool = False,
        chains: Mapping[str, Sequence[int]] | None = None,
    ) -> int:
        """What a run costs, in multiply-adds."""
        batch, length = len(given.ids if isinstance(given, Tokens) else given), self.n_positions(given)
        tokens = self.layout.d_vocab if columns is None or columns.W is None else len(columns.tokens)
        tokens = 0 if self.outcome and self.outcome.last else tokens
        logits = (min(kept, length) or length) * tokens
        return self.prices.run(batch, length, logits, encoded=encoded, more=self._by_path(chains))

    def _by_path(self, chains: Mapping[str, Sequence[int]] | None) -> dict[str, int]:
        """How often more than once each block of another chain is called; -1 of one that is left out."""
        every = [(self.layout.stack(name).blocks, chain) for name, chain in (chains or {}).items()]
        return {block.path: list(chain).count(i) - 1 for blocks, chain in every for i, block in enumerate(blocks)}

    def _account(self, logits: Tensor, cost: int) -> None:
        """Tell what a run costs, and each backward from its logits when it comes."""
        spend(cost)
        if logits.requires_grad:
            logits.register_hook(lambda grad: spend(BACKWARD * cost))  # type: ignore[no-untyped-call]
