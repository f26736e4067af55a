"""What is known of a live model: its map, what it takes, what its positions, outputs and sites are called, what it costs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, SupportsIndex

import torch
from torch import Tensor

from interp.errors import LayoutError, MethodError, TaskError, some
from interp.model.coverage.backward import Suspects
from interp.model.coverage.coverage import Coverage, coverage
from interp.model.coverage.operations import Operations, recognise
from interp.model.inputs.answering import context_of, outputs_of
from interp.model.inputs.position_naming import embedded, names_of
from interp.model.inputs.similarity import Similarity
from interp.model.inputs.taking import InputsLike, TokensLike, probe_of, taken
from interp.model.modules.calling import needed_inputs, stack_input
from interp.model.modules.linear import embedding_device, vocabularies
from interp.model.modules.lock import settled
from interp.model.modules.paths import check_path
from interp.model.modules.soundness import check_model
from interp.model.multiply_adds import Prices
from interp.model.origin import Origin
from interp.model.probing.layout_probe import read_layout
from interp.model.probing.sample import probe_ids, probe_inputs
from interp.model.run_checks import check_value
from interp.parts.ending import Outcome
from interp.parts.forms import form_of
from interp.parts.layout import NET_LEVELS, Layout
from interp.parts.named_inputs import DECODER, TEXT, Inputs
from interp.parts.outputs import AtMask, Classes, NextToken, NoAnswer, Output, Outputs
from interp.parts.ports import available, port
from interp.parts.sites import MODULE, Site, SiteLike, parse
from interp.parts.texts import has_token, token_text
from interp.parts.tokens import Tokens, as_tokens
from interp.rules.rules import Rules
from interp.whole_numbers import whole


class HeldModel:
    """A live model as it is held, and what is known of it; `HookedModel` runs it."""

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
            self._given = None if inputs is None else probe_of(self, inputs, probe_ids)
            self.layout, self.operations = self._discovered(output)
        self._checked: set[Rules] = set()
        self.outcome: Outcome | None = None
        self.edge_maps: dict[Any, Any] = {}
        self.restart: Any = None
        self.chained: Any = None
        self._differentiable: Suspects | None = None
        self._lengths: dict[tuple[str, tuple[Any, ...]], int] = {}
        self.padded_on: set[str] = set()

    def _discovered(self, output: Any) -> tuple[Layout, Operations]:
        """Where everything is in the model, and what its modules compute."""
        read = output.of(self.hf, self.tokenizer) if isinstance(output, Similarity) else output
        layout, seen = read_layout(self.hf, read, self._given)
        return layout, recognise(self.hf, layout, seen)

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle has: all but what is found out again, which belongs to these very modules."""
        return {**vars(self), "edge_maps": {}, "restart": None, "chained": None, "_differentiable": None}

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
        return outputs_of(self)

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

    def check_length(self, n: int) -> None:
        """Raises: TaskError for prompts longer than the model's context."""
        limit = context_of(self.hf, self.layout.pos_embed) if self.takes_text else None
        if limit is not None and n > limit:
            raise TaskError(f"a prompt of {n} tokens; this model's context is {limit} tokens. Shorten the prompts.")

    def check_shape(self, given: Inputs) -> None:
        """Raises: TaskError for inputs of a shape that it does not take, where the configuration does not tell that."""

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
