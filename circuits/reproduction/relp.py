"""Relevance patching: AtP and RelP beside activation patching of the stream, attention outputs and MLP outputs, layer by position.

The figures are those of the paper's table of Pearson correlations on indirect object identification, as far as they are known here.
"""

from __future__ import annotations

from typing import Final

from circuits.reproduction.paper import Paper, Printed

RELP: Final = Paper(
    name="relp",
    title="RelP: Faithful and Efficient Circuit Discovery in Language Models via Relevance Patching",
    source="Jafari et al. 2025, arXiv 2508.21258",
    says="RelP agrees better than AtP with activation patching, most of all of the residual stream and of MLP outputs",
    task="ioi",
    positions="each",
    direction="denoise",
    metric="logit_diff",
    levels={"resid": ("resid_pre",), "blocks": ("attn_out", "mlp")},
    methods=("atp", "relp"),
    others=("relp-ah", "deeplift", "atp-ig"),
    printed=(
        Printed(
            "GPT-2 small",
            ("gpt2", "gpt2-small"),
            ("gpt2", 12, 768, 12),
            {
                ("resid_pre", "atp"): 0.753,
                ("resid_pre", "relp"): 0.968,
                ("attn_out", "atp"): 0.979,
                ("attn_out", "relp"): 0.962,
                ("mlp", "atp"): 0.195,
                ("mlp", "relp"): 0.992,
            },
        ),
        Printed("GPT-2 medium", ("gpt2-medium",), ("gpt2", 24, 1024, 16), {("resid_pre", "atp"): 0.671}),
        Printed(
            "GPT-2 large",
            ("gpt2-large",),
            ("gpt2", 36, 1280, 20),
            {("mlp", "atp"): 0.006, ("mlp", "relp"): 0.956},
        ),
    ),
)
