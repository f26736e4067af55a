"""What the outputs of a model of text say, and how long its texts may be."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

from interp.model.inputs.taking import example_of
from interp.model.modules.calling import n_token_types
from interp.model.modules.linear import vocabulary_size
from interp.model.probing.sample import setting
from interp.parts.named_inputs import Inputs
from interp.parts.outputs import AtMask, Classes, NextToken, NoAnswer, Outputs, class_names
from interp.parts.tokens import Tokens


def outputs_of(model: Any) -> Outputs:
    """What the outputs of a model are called in tasks: tokens behind a prompt, or at its mask, or classes."""
    layout = model.layout
    if layout.crosses and layout.readout == "each" and layout.output.name == "logits":
        return NextToken(layout.d_vocab, partial(example_of, model))
    if layout.output.labels or layout.readout != "each" or not model.takes_text:
        names = layout.output.labels or class_names(model.config, layout.d_vocab)
        return Classes(names, None if model.takes_text else partial(example_of, model), n_token_types(model.hf))
    return _of_positions(model)


def _of_positions(model: Any) -> Outputs:
    """What the outputs are that a model of text has at each position: tokens that follow, tokens at its mask, or none that answers."""
    layout, hf = model.layout, model.hf
    mask, n = getattr(model.tokenizer, "mask_token_id", None), layout.d_vocab
    if layout.output.name != "logits":
        return NoAnswer(
            n,
            f"it gives {layout.output.name}; say what of it is measured, such as output=interp.similarity('A text.').",
        )
    if n < vocabulary_size(hf) and n == len(getattr(hf.config, "id2label", None) or ()):
        return NoAnswer(
            n, "it gives classes of each token; tasks read one output of a prompt.", class_names(hf.config, n)
        )
    if layout.causal or getattr(hf, "answers_at_the_end", False):
        return NextToken(n)
    if mask is None or not 0 <= mask < n:
        return NoAnswer(
            n,
            "it looks at later tokens too, so its outputs are not what follows; give its tokeniser, whose mask token is read.",
        )
    return AtMask(n, int(mask))


def answers_at(model: Any, given: Tokens | Inputs) -> int | None:
    """The position of one prompt that its answer is read at: the mask of a masked language model, else the first or the last as the output
    is made of it; None where it is made of several."""
    if isinstance(model.outputs, AtMask) and isinstance(given, Tokens):
        places = (given.ids[0] == model.outputs.mask).nonzero().flatten().tolist()
        return places[0] if len(places) == 1 else None
    last = model.n_positions(given) - 1
    return {"first": 0, "last": last, "each": last}.get(model.layout.readout)


def asked_for(model: Any, logits: Tensor, given: Tokens | Inputs, kept: int) -> Tensor:
    """Of logits [batch pos output] those of the last `kept` positions, all for 0; of one those at the mask, where every prompt has one."""
    if not 0 < kept < logits.shape[1]:
        return logits
    if kept == 1 and isinstance(model.outputs, AtMask) and isinstance(given, Tokens):
        masked = given.ids == model.outputs.mask
        if bool((masked.sum(-1) == 1).all()):
            return logits[masked.to(logits.device)][:, None]
    return logits[:, -kept:]


def context_of(hf: Any, places: str | None) -> int | None:
    """How many tokens a text may have, as far as the configuration says, or the table of positions at the path `places`; positions that begin
    behind the id of padding are fewer."""
    limit = setting(hf, "max_position_embeddings")
    if not isinstance(limit, int):
        return getattr(hf.get_submodule(places), "num_embeddings", None) if places else None
    tables = (m for m in hf.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == limit)
    behind = [m.padding_idx for m in tables if m.padding_idx is not None and m is not hf.get_input_embeddings()]
    return limit - behind[0] - 1 if behind else limit
