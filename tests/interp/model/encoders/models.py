"""Tiny random encoders and classifiers of text, with weights large enough that no effect is negligible."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers
from torch import Tensor

from interp.model.model import HookedModel
from tests.interp.model.encoders.own_encoders import Around, Before, Config, Pooled
from tests.interp.model.tiny import VOCAB, randomise

_SIZES = {"vocab_size": VOCAB, "max_position_embeddings": 64}
_BERT = {**_SIZES, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_DISTIL = {**_SIZES, "dim": 32, "hidden_dim": 48, "n_layers": 2, "n_heads": 4}
#: Every other layer looks at two neighbours on either side only: fewer than the prompts have.
_MODERN = {
    **_BERT,
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1, "sep_token_id": 2},
    **{"local_attention": 4, "global_attn_every_n_layers": 2},
}
_GPT2 = {"vocab_size": VOCAB, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": 0}
_LLAMA = {**_BERT, "num_key_value_heads": 2, "pad_token_id": 0}
_LABELS = {"num_labels": 3}

#: (class, what its configuration has)
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert-mlm": ("BertForMaskedLM", _BERT),
    "bert-classes": ("BertForSequenceClassification", {**_BERT, **_LABELS}),
    "bert-tokens": ("BertForTokenClassification", {**_BERT, **_LABELS}),
    "bert-next": ("BertForNextSentencePrediction", _BERT),
    "bert": ("BertModel", _BERT),
    "roberta-mlm": ("RobertaForMaskedLM", {**_BERT, "pad_token_id": 1}),
    "roberta-classes": ("RobertaForSequenceClassification", {**_BERT, **_LABELS, "pad_token_id": 1}),
    "xlm-roberta-mlm": ("XLMRobertaForMaskedLM", {**_BERT, "pad_token_id": 1}),
    "distilbert-mlm": ("DistilBertForMaskedLM", _DISTIL),
    "distilbert-classes": ("DistilBertForSequenceClassification", {**_DISTIL, **_LABELS}),
    "modernbert-mlm": ("ModernBertForMaskedLM", _MODERN),
    "modernbert-classes": ("ModernBertForSequenceClassification", {**_MODERN, **_LABELS, "classifier_pooling": "mean"}),
    "electra-mlm": ("ElectraForMaskedLM", {**_BERT, "embedding_size": 32}),
    "mpnet-mlm": ("MPNetForMaskedLM", {**_BERT, "pad_token_id": 1}),
    "deberta-mlm": ("DebertaV2ForMaskedLM", _BERT),
    "gpt2-classes": ("GPT2ForSequenceClassification", {**_GPT2, **_LABELS}),
    "llama-classes": ("LlamaForSequenceClassification", {**_LLAMA, **_LABELS}),
}
BY_HAND: dict[str, Any] = {"by-hand-around": Around, "by-hand-before": Before, "by-hand-mean": Pooled}
NAMES = (*CLASSES, *BY_HAND)
#: Classifiers of a causal model; all others look at whole texts.
CAUSAL = ("gpt2-classes", "llama-classes")
#: The norms of these act on the sums.
PRE = ("modernbert-mlm", "modernbert-classes", *CAUSAL, "by-hand-before", "by-hand-mean")
AROUND = tuple(name for name in NAMES if name not in PRE)
#: Attention of these is no attention function of transformers, so q, k, v and patterns are not seen.
OWN_ATTENTION = ("mpnet-mlm", "deberta-mlm")


def tiny(name: str, *, seed: int = 0, **changes: Any) -> Any:
    """The Hugging Face model, with eager attention where it has a choice."""
    if name in BY_HAND:
        model: Any = BY_HAND[name](Config())
    else:
        cls = getattr(transformers, CLASSES[name][0])
        model = cls(cls.config_class(**{**CLASSES[name][1], **changes}))
    if name not in OWN_ATTENTION:
        model.set_attn_implementation("eager")
    randomise(model, seed)
    return model.eval()


def hooked(name: str, tokenizer: Any = None, **changes: Any) -> HookedModel:
    """A tiny model, hooked."""
    return HookedModel(tiny(name, **changes), tokenizer, name=name)


@cache
def known(name: str) -> HookedModel:
    """A tiny model, hooked once for all tests that leave it as it is."""
    return hooked(name)


def plainly(model: Any) -> dict[str, bool]:
    """The arguments of a call without a cache, which rounds otherwise."""
    return {"use_cache": False} if hasattr(model.config, "use_cache") else {}


def output(model: Any, ids: Tensor, **inputs: Any) -> Tensor:
    """What a model returns, called by hand: its logits or last stream [batch pos d], one position where a prompt has one output."""
    with torch.no_grad():
        result = model(input_ids=ids, **inputs, **plainly(model))
    found: Tensor = result.logits if "logits" in result else result.last_hidden_state
    return found if found.ndim == 3 else found[:, None]
