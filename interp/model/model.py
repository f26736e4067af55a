"""`HookedModel`: a live Hugging Face model, its map, and one pure way to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.dictionaries.splice import check_dictionaries, widths
from interp.errors import LayoutError, MethodError, TaskError, some
from interp.formatting.showing import card
from interp.ledger import BACKWARD, ledger, spend
from interp.model.coverage.backward import Suspects, check_gradients, suspects
from interp.model.coverage.coverage import Coverage, Operations, coverage, recognise
from interp.model.edits import Edit
from interp.model.inputs.answering import context_of, outputs_of_positions
from interp.model.inputs.encoding import encoded as encoded_of
from interp.model.inputs.encoding import encoded_width, with_encoded
from interp.model.inputs.position_naming import embedded, names_of
from interp.model.inputs.taking import InputsLike, TokensLike, arguments, example_of, probe_of, sourced, taken
from interp.model.modules.calling import n_token_types, needed_inputs, stack_input
from interp.model.modules.linear import embedding_device, vocabularies
from interp.model.modules.lock import settled
from interp.model.modules.paths import check_path
from interp.model.modules.soundness import check_model, check_state
from interp.model.multiply_adds import Prices
from interp.model.operands import Operands
from interp.model.origin import Origin
from interp.model.plan import plan_run
from interp.model.probing.layout_probe import read_layout
from interp.model.probing.sample import probe_inputs
from interp.model.result import Run
from interp.model.run import execute
from interp.model.run_checks import check_encoded, check_lists, check_pattern, check_value, checked_kept, checked_other
from interp.model.similarity import Similarity
from interp.model.vocabulary import Columns
from interp.parts.forms import form_of
from interp.parts.layout import NET_LEVELS, Layout
from interp.parts.named_inputs import DECODER, TEXT, Inputs
from interp.parts.outputs import AtMask, Classes, NextToken, NoAnswer, Output, Outputs, class_names
from interp.parts.ports import available, port
from interp.parts.sites import MODULE, Site, SiteLike, parse
from interp.parts.texts import has_token, token_text
from interp.parts.tokens import Tokens, as_tokens
from interp.rules.rules import GRADIENT, Rules
from interp.whole_numbers import whole


class HookedModel:
    """A `PreTrainedModel`, held as it is: no weight is converted and no module replaced.

    `run` follows torch's grad mode. Under it gradients reach the reads and edits, never the parameters. `edge_maps`: what
    level `edges` has found out about the model, by graph. `restart`: what exact patching has. `origin`: the files that it was made of.
    `processor`: what makes inputs of images or sound, as transformers has it. inputs: an example of what a model takes that is no text,
    to find its layout on, where its configuration does not tell the size.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str = "",
        origin: Origin | None = None,
        processor: Any = None,
        output: Output | Similarity | None = None,
        inputs: Any = None,
    ) -> None:
        check_model(model)
        self.hf = model
        self.tokenizer = tokenizer
        self.processor = processor
        self.origin = origin or Origin()
        self.name = name or getattr(self.config, "name_or_path", "") or type(model).__name__
        with settled(self.device):
            self._given = None if inputs is None else probe_of(self, inputs)
            self.layout, self.operations = self._discovered(output)
        self._checked: set[Rules] = set()
        self.edge_maps: dict[Any, Any] = {}
        self.restart: Any = None
        self._differentiable: Suspects | None = None
        self._lengths: dict[tuple[str, tuple[Any, ...]], int] = {}

    def _discovered(self, output: Any) -> tuple[Layout, Operations]:
        """Where everything is in the model, and what its modules compute."""
        read = output.of(self.hf, self.tokenizer) if isinstance(output, Similarity) else output
        layout, seen = read_layout(self.hf, read, self._given)
        return layout, recognise(self.hf, layout, seen)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has: all but what is found out again, which belongs to these very modules."""
        return {**vars(self), "edge_maps": {}, "restart": None, "_differentiable": None}

    def __repr__(self) -> str:
        size = self.layout
        return (
            f"HookedModel({self.name!r}, {type(self.hf).__name__}, layers={size.n_layers}, heads={size.n_heads}, "
            f"{f'kv_heads={size.n_kv_heads}, ' if size.attention_function else ''}d_model={size.d_model}, d_mlp={size.d_mlp}, dtype={self.dtype})"
        )

    def _repr_html_(self) -> str:
        return str(card(self))

    @property
    def config(self) -> Any:
        """The configuration of the model; None where it has none."""
        return getattr(self.hf, "config", None)

    @property
    def dtype(self) -> torch.dtype:
        return self.hf.dtype  # type: ignore[no-any-return]

    @property
    def device(self) -> torch.device:
        """Where token ids go: the device of the embedding."""
        return embedding_device(self.hf)

    @property
    def probed(self) -> Mapping[str, Tensor]:
        """What it is tried on: the main input, one example, by its name."""
        return self._given or probe_inputs(self.hf)

    @property
    def vocabularies(self) -> dict[str, int]:
        """How many ids each input of ids has that it needs."""
        return vocabularies(self.hf)

    @property
    def example_axes(self) -> int | None:
        """How many axes one example of a main input that is no text has; None where that is not known."""
        form = form_of(self.config, needed_inputs(self.hf)[0])
        return None if form is None else len(form.axes)

    @property
    def takes_text(self) -> bool:
        """Whether token ids are all that it takes."""
        return needed_inputs(self.hf) == (TEXT,)

    def tokenize(self, text: TokensLike) -> Tokens:
        """Token ids and mask of one or several prompts: padded on the left, or, where positions look at later ones, with what the
        tokeniser puts behind a text, and padded on the right. Raises: TaskError for a model that takes no text."""
        if not self.takes_text:
            needed = needed_inputs(self.hf)
            what = (
                f"{needed[0]}, and no text: it has no tokens" if len(needed) == 1 else f"{some(needed)}, no text alone"
            )
            raise TaskError(f"{type(self.hf).__name__} takes {what}.")
        return as_tokens(text, self.tokenizer, whole=self.reads_whole)

    @property
    def reads_whole(self) -> bool:
        """Whether texts are given to it whole, as the tokeniser ends them, and padded on the right: where nothing follows a prompt."""
        return not isinstance(self.outputs, NextToken)

    @cached_property
    def outputs(self) -> Outputs:
        """What its outputs are called in tasks: tokens behind a prompt, or at its mask, or classes."""
        layout = self.layout
        if layout.crosses and layout.readout == "each" and layout.output.name == "logits":
            return NextToken(layout.d_vocab, partial(example_of, self))
        if layout.output.labels or layout.readout != "each" or not self.takes_text:
            names = layout.output.labels or class_names(self.config, layout.d_vocab)
            return Classes(names, None if self.takes_text else partial(example_of, self), n_token_types(self.hf))
        return outputs_of_positions(self)

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

    def positions(self, given: InputsLike | None = None, stack: str = "") -> tuple[str, ...]:
        """What the positions of its stream are called: the tokens of a text; for images `CLS`, `r0c0`, `r0c1`, ... (row and column of the
        patch), behind `CLS` the distillation token `DIST` or registers `REG0`, ...; `f0t0`, ... for patches of a spectrogram (mel band
        and time); `t0`, ... for frames of sound.

        given: text or inputs; without it inputs as configured. stack: which stream, by its prefix, of a model with several (`encoder`).
        Raises: TaskError where text is missing or there are several; SiteError for a stack that it has not.
        """
        self.layout.stack(stack)
        if not self.takes_text:
            found = taken(self, self.probed if given is None else given)
            return names_of(self, found, stack) if isinstance(found, Inputs) else ()
        if given is None or len((tokens := self.tokenize(given)).ids) != 1:  # type: ignore[arg-type]
            raise TaskError("positions of a model of text are those of one text: model.positions('The cat sat.').")
        return tuple(self.text_of(i) for i in tokens.ids[0].tolist())

    def text_of(self, token: SupportsIndex) -> str:
        """The text of one token id, to be shown, with its leading space; the id itself where there is no tokeniser, or no token of
        that id, or the token is only a part of a character, which would look like any other such part."""
        i = whole(token, "token id", TaskError)
        text = "\ufffd" if self.tokenizer is None else token_text(self.tokenizer, i)
        if "\ufffd" in text or not has_token(self.tokenizer, i):
            return f"<{i}>"
        spaced = str(self.tokenizer.convert_ids_to_tokens(i)).startswith(("\u2581", "\u0120"))
        if not text and not spaced:
            return f"<{i}>"
        return " " + text if spaced and not text.startswith(" ") else text

    def output_text(self, output: SupportsIndex) -> str:
        """What one output is called: a token's text, as `text_of` has it, or the name of a class. Raises: TaskError for a class that the
        model has not."""
        outputs = self.outputs
        if not isinstance(outputs, (Classes, NoAnswer)) or not outputs.names:
            return self.text_of(output)
        if not 0 <= (i := whole(output, "class", TaskError)) < outputs.n:
            raise TaskError(f"class {i}: this model has classes 0 to {outputs.n - 1}.")
        return outputs.names[i]

    def check_level(self, level: str) -> None:
        """Raises: MethodError for a level that this kind of model does not have."""
        if level in NET_LEVELS:
            raise MethodError(
                f"level {level!r} is of nets without blocks; this model has blocks: use 'blocks', 'heads', 'neurons' or 'resid'."
            )

    def check_next(self, what: str) -> None:
        """Raises: LayoutError where outputs are not those of what follows the last token, naming what needs that."""
        if not isinstance(self.outputs, NextToken):
            how = "answers at its mask" if isinstance(self.outputs, AtMask) else "says nothing of a next token"
            raise LayoutError(
                f"{what}: this model ({type(self.hf).__name__}) {how}; expected one that continues texts."
            )

    def sites(self) -> list[str]:
        """The kinds of site that this model has."""
        return [kind for kind, missing in available(self.layout) if not missing]

    def missing_sites(self) -> dict[str, str]:
        """The kinds of site that it does not have, with the reason."""
        return {kind: missing for kind, missing in available(self.layout) if missing}

    def resolve(self, site: SiteLike) -> list[Site]:
        """The sites that a name means here. Raises: SiteError for an unknown or unavailable one."""
        found = parse(site, self.layout.layers, rotary=self.layout.rotary)
        for one in found:
            port(one, self.layout)
            if one.kind == MODULE:
                check_path(self.hf, one.path)
        return found

    @cached_property
    def prices(self) -> Prices:
        """What the parts of a run cost, in multiply-adds."""
        return Prices.of(self)

    def coverage(self, rules: Rules) -> Coverage:
        """How `rules` treat every operation of this model: rule, plain gradient or unsupported."""
        check_value(rules)
        return coverage(self.layout, self.operations, rules)

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

        Raises: SiteError, EditError, UnsupportedRuleError (unless `allow_unsupported`), MethodError for rules where no gradient
        goes through a module, DictionaryError, InterpError for ids out of range.
        """
        check_state(self.hf)
        check_lists(reads, edits)
        check_value(rules)
        if rules != GRADIENT and not allow_unsupported:
            self._check_rules(rules)
        if rules != GRADIENT and torch.is_grad_enabled() and self._differentiable is None:
            self.check_gradients()
        operands = Operands(id(self.hf)) if keep_operands else None
        given = taken(self, tokens)
        kept = checked_kept(logits_to_keep)
        other = checked_other(rules, toward, given, id(self.hf))
        if dictionaries:
            self.layout.check_blocks("dictionaries")
        spliced = check_dictionaries({} if dictionaries is None else dictionaries, self.layout, widths(self.layout))
        resolved = [(self.resolve(e.site), e) for e in edits]
        check_pattern(type(self.hf).__name__, self.layout, [site for sites, _ in resolved for site in sites], split_kv)
        plan = plan_run([self.resolve(r) for r in reads], resolved, rules, split_kv, spliced, operands, other)
        columns = None if vocabulary is None else Columns.of(self, vocabulary)
        inputs = arguments(self, given, kept)
        if encoded is not None:
            check_encoded(self, plan.sites(), given, encoded)
            inputs = with_encoded(inputs, encoded)
        logits, found = execute(self.hf, self.layout, self.operations, plan, inputs, columns)
        logits = self._kept(logits, given, kept)
        if ledger() is not None:
            self._account(given, kept, columns, logits, encoded is not None)
        return Run(logits, found, given, self.layout.layers, self.layout.rotary, operands)

    def _kept(self, logits: Tensor, given: Tokens | Inputs, kept: int) -> Tensor:
        """Of logits [batch pos output] those that were asked for."""
        if not 0 < kept < logits.shape[1]:
            return logits
        if kept == 1 and isinstance(self.outputs, AtMask) and isinstance(given, Tokens):
            masked = given.ids == self.outputs.mask
            if bool((masked.sum(-1) == 1).all()):
                return logits[masked.to(logits.device)][:, None]
        return logits[:, -kept:]

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

    def _check_rules(self, rules: Rules) -> None:
        """The coverage check, made once per rule set."""
        if rules not in self._checked:
            self.coverage(rules).check()
            self._checked.add(rules)

    def check_length(self, n: int) -> None:
        """Raises: TaskError for prompts longer than the model's context."""
        limit = context_of(self.hf) if self.takes_text else None
        if limit is not None and n > limit:
            raise TaskError(f"a prompt of {n} tokens; this model's context is {limit} tokens. Shorten the prompts.")

    def check_shape(self, given: Inputs) -> None:
        """Raises: TaskError for inputs of a shape that it does not take, where the configuration does not tell that."""

    def n_positions(self, given: Tokens | Inputs, stack: str | None = None) -> int:
        """How many positions the stream of a stack, by default of the one that is read last, has for these tokens, or for inputs of this
        shape."""
        if isinstance(given, Tokens):
            return given.ids.shape[1]
        stack = self.layout.name if stack is None else stack
        if (name := stack_input(self.hf, stack)) in (TEXT, DECODER):
            return given.tensors[name].shape[1]
        key = stack, tuple((name, *x.shape[1:]) for name, x in sorted(given.tensors.items()))
        if key not in self._lengths:
            self._lengths[key] = embedded(self, given, stack).shape[1]
        return self._lengths[key]

    def _account(
        self, given: Tokens | Inputs, kept: int, columns: Columns | None, logits: Tensor, encoded: bool
    ) -> None:
        """Tell what a run costs, and each backward from its logits when it comes."""
        batch, length = logits.shape[0], self.n_positions(given)
        tokens = self.layout.d_vocab if columns is None or columns.W is None else len(columns.tokens)
        cost = self.prices.run(batch, length, (min(kept, length) or length) * tokens, encoded=encoded)
        spend(cost)
        if logits.requires_grad:
            logits.register_hook(lambda grad: spend(BACKWARD * cost))  # type: ignore[no-untyped-call]
