"""Text generation with edits in force at every step: what a steering vector or an ablation makes the model say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from interp.dictionaries.dictionary import Dictionary
from interp.errors import InterpError, TaskError
from interp.model.chains.chains import Layers
from interp.model.edits import Edit
from interp.model.inputs.taking import taken
from interp.model.writing import end_ids, written
from interp.parts.named_inputs import DECODER
from interp.parts.sites import SiteLike
from interp.parts.texts import encode
from interp.parts.tokens import Tokens
from interp.precision import wide
from interp.whole_numbers import count, whole


def generate(
    model: Any,
    prompt: Any,
    *,
    edits: Sequence[Edit] = (),
    dictionaries: Mapping[SiteLike, Dictionary] | None = None,
    layers: Layers | None = None,
    max_new_tokens: int = 20,
    do_sample: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
) -> str:
    """The prompt and its continuation, as one text; the end-of-text token is not part of it. Of an encoder-decoder `prompt` is what its
    encoder reads, or inputs (`model.inputs(source, decoder=...)`), and what its decoder writes is returned alone.

    Every step is a full `model.run` of prompt and continuation so far, without a key/value cache, so an edit sees
    [batch=1 pos ...] with `pos` growing by one per step and acts on all positions each time. Write steering edits so
    that they broadcast over positions (`interp.add("resid_post.3", v)`), or choose positions of the prompt
    (`positions=[4]`). `logits` edits see the last position only. `dictionaries`: as in `model.run`, to steer by features
    (`interp.patch("resid_post.3.features", 5.0, features=117)`). `layers`: as in `model.run`, at every step.

    do_sample: draw from softmax(logits / temperature) with `seed`; otherwise the most probable token is taken.

    Cost: one forward over the whole text per new token.
    Raises: TaskError without tokeniser or with an empty prompt; InterpError for an option out of range or a text that
    would be longer than the model's context; EditError where an edit changes the shape of its tensor.
    """
    if model.layout.crosses:
        if dictionaries:
            raise InterpError("dictionaries: generate behind an encoder takes edits alone.")
        if layers is not None:
            raise InterpError("layers: generate behind an encoder takes edits alone.")
        return _behind_encoder(model, prompt, edits, max_new_tokens, temperature, seed if do_sample else None)
    if not isinstance(prompt, str):
        raise TaskError(f"prompt {prompt!r:.80}: expected one text.")
    model.check_next("generate")
    ids = encode(model.tokenizer, prompt)
    _check(model, len(ids), max_new_tokens, temperature)
    ends, start = end_ids(model), len(ids)
    generator = torch.Generator().manual_seed(whole(seed, "seed"))
    for _ in range(max_new_tokens):
        logits = _next_logits(model, ids, edits, dictionaries, layers)
        new = _sample(logits / temperature, generator) if do_sample else int(logits.argmax())
        if new in ends:
            break
        ids.append(new)
    return prompt + _continuation(model.tokenizer, ids, start)


def _behind_encoder(
    model: Any, source: Any, edits: Sequence[Edit], max_new_tokens: int, temperature: float, seed: int | None
) -> str:
    """What a decoder writes behind what it has been given; its encoder runs once where no edit touches it. seed: None takes the most probable
    tokens."""
    given, generator = taken(model, source), torch.Generator().manual_seed(whole(seed or 0, "seed"))
    if isinstance(given, Tokens) or len(given) != 1:
        raise TaskError("generate: expected one text or one input.")
    inside = any(site.stack for edit in edits for site in model.resolve(edit.site))
    _check(model, given.tensors[DECODER].shape[1], max_new_tokens, temperature)

    def choose(logits: Tensor) -> Tensor:
        rows = (int(row.argmax()) if seed is None else _sample(row / temperature, generator) for row in logits)
        return torch.tensor(list(rows))

    encoded = None if inside or not model.encoded_width else model.encode(given)
    (ids,) = written(model, given, max_new_tokens, choose, edits=edits, encoded=encoded)
    return str(model.tokenizer.decode(ids, skip_special_tokens=True)) if model.tokenizer else " ".join(map(str, ids))


def _check(model: Any, length: int, max_new_tokens: int, temperature: float) -> None:
    count(max_new_tokens, "max_new_tokens")
    if not temperature > 0:
        raise InterpError(f"temperature={temperature}: expected above 0 (greedy is do_sample=False).")
    limit = getattr(model.hf.config, "max_target_positions", None) or getattr(
        model.hf.config, "max_position_embeddings", None
    )
    if limit is not None and length + max_new_tokens > limit + 1:
        raise InterpError(
            f"prompt of {length} tokens and max_new_tokens={max_new_tokens}: this model's context is {limit} tokens. "
            "Shorten the prompt or ask for fewer tokens."
        )


def _next_logits(model: Any, ids: list[int], edits: Sequence[Edit], dictionaries: Any, layers: Any) -> Tensor:
    """Logits of the next token [d_vocab], on the CPU in float32 or better."""
    with torch.no_grad():
        run = model.run(torch.tensor([ids]), edits=edits, logits_to_keep=1, dictionaries=dictionaries, layers=layers)
        return wide(run.logits[0, -1].cpu())


def _sample(logits: Tensor, generator: torch.Generator) -> int:
    return int(torch.multinomial(torch.softmax(logits, dim=-1), 1, generator=generator))


def _continuation(tokenizer: Any, ids: list[int], start: int) -> str:
    """The text of `ids[start:]`, decoded behind the prompt so that its leading space is kept."""
    whole, head = (tokenizer.decode(part, skip_special_tokens=True) for part in (ids, ids[:start]))
    if whole.startswith(head):
        return str(whole[len(head) :])
    return str(tokenizer.decode(ids[start:], skip_special_tokens=True))
