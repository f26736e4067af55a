"""Where the modules of these models are, typed by hand from their sources: the tests ask no engine where to hook."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

#: The blocks; then, inside one, the output projections of attention and MLP, and the two norms.
_BERT = ("attention.output.dense", "output.dense", "attention.output.LayerNorm", "output.LayerNorm")
_MODERN = ("attn.Wo", "mlp.Wo", "attn_norm", "mlp_norm")
_OWN = ("look.merge", "narrower", "one", "two")
_DISTIL = ("attention.out_lin", "ffn.lin2", "sa_layer_norm", "output_layer_norm")
_PATHS: dict[str, tuple[str, tuple[str, ...]]] = {
    "bert": ("encoder.layer", _BERT),
    "bert-": ("bert.encoder.layer", _BERT),
    "roberta-": ("roberta.encoder.layer", _BERT),
    "xlm-roberta-": ("roberta.encoder.layer", _BERT),
    "electra-": ("electra.encoder.layer", _BERT),
    "deberta-": ("deberta.encoder.layer", _BERT),
    "distilbert-": ("distilbert.transformer.layer", _DISTIL),
    "mpnet-": ("mpnet.encoder.layer", ("attention.attn.o", "output.dense", "attention.LayerNorm", "output.LayerNorm")),
    "modernbert-": ("model.layers", _MODERN),
    "gpt2-": ("transformer.h", ("attn.c_proj", "mlp.c_proj", "ln_1", "ln_2")),
    "llama-": ("model.layers", ("self_attn.o_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm")),
    "by-hand-": ("pieces", _OWN),
}


@dataclass(frozen=True)
class Parts:
    """Modules of one block; `first` and `second` are the norms of attention and MLP, in front of them or around the sums."""

    block: nn.Module
    o: nn.Module
    down: nn.Module
    first: nn.Module
    second: nn.Module


def parts(name: str, model: Any, layer: int) -> Parts:
    """The modules of one block, by the table above."""
    blocks, inner = next(
        own for start, own in _PATHS.items() if name == start or (start[-1] == "-" and name.startswith(start))
    )
    block = model.get_submodule(f"{blocks}.{layer}")
    return Parts(block, *(block.get_submodule(path) for path in inner))
