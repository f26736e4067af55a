"""A small transformer written out as its equations, for checkpoints in TransformerLens layout.

    x = embed[token] + pos_embed[position]                                        [batch pos d_model]
    x = x + attn(ln1(x)), then x = x + mlp(ln2(x)), in every block
    logits = unembed(ln_final(x))                                                 [batch pos d_vocab_out]

    attn(x) = softmax(q . k / attn_scale + mask) v W_O + b_O, with q, k, v = x W_Q + b_Q, x W_K + b_K, x W_V + b_V
    mlp(x) = f(x W_in + b_in) W_out + b_out

Modules are named as in TransformerLens and its weights are those of the checkpoint, so a `HookedModel` is made of it as
of any other model. `interp.model.loading.transformer_lens_files` makes one of a folder.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask, create_causal_mask
from transformers.modeling_outputs import CausalLMOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from interp.errors import LoadError


class ReferenceConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes and choices under their TransformerLens names; Hugging Face's names mean the same."""

    model_type = "transformer_lens_reference"
    attribute_map = {
        "num_hidden_layers": "n_layers",
        "num_attention_heads": "n_heads",
        "head_dim": "d_head",
        "hidden_size": "d_model",
        "intermediate_size": "d_mlp",
        "vocab_size": "d_vocab",
        "max_position_embeddings": "n_ctx",
    }
    n_layers: int = 1
    n_heads: int = 1
    d_head: int = 8
    d_model: int = 8
    d_mlp: int = 32
    d_vocab: int = 16
    d_vocab_out: int = 16
    n_ctx: int = 16
    act_fn: str = "relu"
    normalization_type: str | None = None
    attention_dir: str = "causal"
    attn_scale: float = 1.0
    eps: float = 1e-5
    attn_only: bool = False


def eager_attention_forward(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """z = softmax(q . k * scaling + mask) v: [batch head pos d_head] -> [batch pos head d_head], with the pattern."""
    scores = query @ key.transpose(-1, -2) * scaling
    pattern = torch.softmax(scores if attention_mask is None else scores + attention_mask, dim=-1)
    return (pattern @ value).transpose(1, 2), pattern


class Attention(nn.Module):
    """attn(x) = z W_O + b_O, heads side by side in z [batch pos head*d_head]."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        self.config = config
        width = config.n_heads * config.d_head
        self.W_Q, self.W_K, self.W_V = (nn.Linear(config.d_model, width) for _ in "QKV")
        self.W_O = nn.Linear(width, config.d_model)
        self.is_causal = config.attention_dir == "causal"

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        q, k, v = (W(x).unflatten(-1, (-1, self.config.d_head)).transpose(1, 2) for W in (self.W_Q, self.W_K, self.W_V))
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        z, _ = attend(self, q, k, v, attention_mask, scaling=1 / self.config.attn_scale)
        out: Tensor = self.W_O(z.flatten(2))
        return out


class MLP(nn.Module):
    """mlp(x) = f(x W_in + b_in) W_out + b_out."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        self.W_in = nn.Linear(config.d_model, config.d_mlp)
        self.act = ACT2FN[config.act_fn]
        self.W_out = nn.Linear(config.d_mlp, config.d_model)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.W_out(self.act(self.W_in(x)))
        return out


class Block(nn.Module):
    """x + attn(ln1(x)), then + mlp(ln2(.))."""

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__()
        self.ln1, self.attn = _norm(config), Attention(config)
        self.ln2, self.mlp = _norm(config), MLP(config)

    def forward(self, x: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        middle: Tensor = x + self.attn(self.ln1(x), attention_mask=attention_mask)
        after: Tensor = middle + self.mlp(self.ln2(middle))
        return after


def _norm(config: ReferenceConfig) -> nn.Module:
    return nn.LayerNorm(config.d_model, eps=config.eps) if config.normalization_type == "LN" else nn.Identity()


class ReferenceTransformer(PreTrainedModel):  # type: ignore[misc]
    """logits = unembed(ln_final(x)) after all blocks."""

    config_class = ReferenceConfig
    _supports_sdpa = True
    _supports_attention_backend = True
    #: Also where positions look at later ones, as compiled programs and trained ones do.
    answers_at_the_end: Final = True

    def __init__(self, config: ReferenceConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.d_vocab, config.d_model)
        self.pos_embed = nn.Embedding(config.n_ctx, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.ln_final = _norm(config)
        self.unembed = nn.Linear(config.d_model, config.d_vocab_out)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.embed

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool = False,
        logits_to_keep: int = 0,
    ) -> CausalLMOutput:
        """Logits [batch pos d_vocab_out] of the last `logits_to_keep` positions (0: all); nothing is cached.

        Raises: LoadError where ids and embeddings are both given or both missing, or a cache is asked for.
        """
        if (input_ids is None) == (inputs_embeds is None) or use_cache:
            raise LoadError("expected input_ids or inputs_embeds, one of them, and use_cache=False.")
        tokens = self.embed(input_ids) if inputs_embeds is None else inputs_embeds
        if position_ids is None:
            position_ids = torch.arange(tokens.shape[1], device=tokens.device)[None]
        x = tokens + self.pos_embed(position_ids)
        masked = create_causal_mask if self.config.attention_dir == "causal" else create_bidirectional_mask
        mask = masked(config=self.config, inputs_embeds=x, attention_mask=attention_mask, past_key_values=None)
        for block in self.blocks:
            x = block(x, attention_mask=mask)
        return CausalLMOutput(logits=self.unembed(self.ln_final(x)[:, -logits_to_keep:]))
