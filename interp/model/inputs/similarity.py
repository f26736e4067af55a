"""Sentence encoders: what is measured is how near the embedding of a text is to those of some reference texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import LayoutError, TaskError, unknown
from interp.model.modules.calling import on_ids
from interp.model.modules.linear import embedding_device
from interp.parts.outputs import Output
from interp.parts.texts import encode_document

POOLINGS: Final = ("mean", "first")


@dataclass(frozen=True)
class Similarity:
    """One output for each reference text: s(x) = e(x) . e(r), divided by both lengths where `cosine`, with e(.) the `mean` over the
    tokens of the last hidden state, or that of the `first` one ([CLS])."""

    texts: tuple[str, ...]
    pooling: str = "mean"
    cosine: bool = True

    def of(self, hf: Any, tokenizer: Any) -> Output:
        """The output of a model [batch reference], with the embeddings of the references. Raises: LayoutError where the model gives no
        hidden states, or no length to divide by; TaskError without a tokeniser."""
        rows = []
        with torch.no_grad():
            for text in self.texts:
                inputs = on_ids(hf, torch.tensor([encode_document(tokenizer, text)], device=embedding_device(hf)))
                rows.append(_embedded(self.pooling, hf(**inputs), inputs)[0])
        references = torch.stack(rows)
        if self.cosine and not bool((references.norm(dim=-1) > 0).all()):
            raise LayoutError(
                "similarity: the embedding of a reference text is 0, so it has no direction; use cosine=False."
            )
        references = references / references.norm(dim=-1, keepdim=True) if self.cosine else references
        return Output("similarity", partial(_similarities, self, references), self.texts, linear=not self.cosine)


def similarity(*texts: str, pooling: str = "mean", cosine: bool = True) -> Similarity:
    """What a sentence encoder is measured by: `interp.load(folder, output=interp.similarity("A text."))`. Answers of tasks are then these
    texts; metric `logit` is the similarity itself, `logit_diff` how much nearer one is than another.

    texts: one or more, each once. pooling: `mean` over the tokens, or the `first`. cosine: divide by both lengths; else the plain product.
    Units: none. Source: Reimers & Gurevych 2019 (pooling). Raises: TaskError.
    """
    if not texts or len(set(texts)) < len(texts) or not all(isinstance(text, str) and text for text in texts):
        raise TaskError(f"similarity of {texts!r:.80}: expected one text or more, each once.")
    if pooling not in POOLINGS:
        raise TaskError(unknown("pooling", pooling, POOLINGS))
    return Similarity(tuple(texts), pooling, bool(cosine))


def _similarities(own: Similarity, references: Tensor, result: Any, inputs: Mapping[str, Any]) -> Tensor:
    e = _embedded(own.pooling, result, inputs)
    e = e / e.norm(dim=-1, keepdim=True) if own.cosine else e
    found: Tensor = e @ references.to(e).T
    return found


def _embedded(pooling: str, result: Any, inputs: Mapping[str, Any]) -> Tensor:
    """[batch d] of the last hidden state [batch pos d]; padding has no part in it."""
    hidden = getattr(result, "last_hidden_state", None)
    if not isinstance(hidden, Tensor):
        raise LayoutError(
            f"similarity: a forward pass gives a {type(result).__name__} without last_hidden_state; expected a bare encoder (BertModel), whose "
            "hidden states are pooled."
        )
    if pooling == "first":
        return hidden[:, 0]
    mask = inputs.get("attention_mask")
    weights = torch.ones_like(hidden[..., :1]) if mask is None else mask.to(hidden)[..., None]
    found: Tensor = (hidden * weights).sum(1) / weights.sum(1)
    return found
