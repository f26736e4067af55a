"""Layouts that were found by watching, against the tables of transformer-lens: every difference has a name and a reason."""

from __future__ import annotations

from typing import Any, Final

import pytest

from interp.errors import InterpError
from interp.model.model import HookedModel
from interp.parts.layout import Layout
from tests.interp.model.discovery.second_opinion import ENDS, opinion
from tests.interp.model.plain import ALL
from tests.interp.model.probes.causal_lms import MODEL_TYPES, causal_lm
from tests.interp.model.tiny import architecture, tiny

_NO_ACT: Final = "{}, so the MLP has no activation in the sense of a layout, and which map makes no gate is not known"
#: Where both speak and differ: model type -> part -> why. Each is asserted to differ.
DIFFERENCES: Final[dict[str, dict[str, str]]] = {
    "bitnet": {"up": _NO_ACT.format("a norm stands between activation and output projection")},
    "lfm2": {"up": _NO_ACT.format("the activation is a function")},
    "bert": {
        "ln_final": "the norm is one of the head, behind a dense layer, and reads no stream",
        "pos_embed": "what the first block reads is a norm of embeddings, and no sum",
        "attn": "the module that calls the attention function is inside the one that is named, which adds the stream too",
    },
    "modernbert-decoder": {"up": "gate and up are one fused map, which a layout names as the branch of the gate"},
    "nanochat": {
        "ln_final": "the norm is called for the embeddings too, so that what it reads first is no final stream"
    },
}


def ours(layout: Layout) -> dict[str, Any]:
    """A layout in the words of the adapters."""
    blocks = [
        {"path": b.path, "attn": b.attn.module, "o": b.attn.o, "mlp": b.mlp.module, "up": b.mlp.up, "down": b.mlp.down}
        for b in layout.blocks
    ]
    return {"blocks": blocks, "ln_final": layout.ln_final, "unembed": layout.unembed, "pos_embed": layout.pos_embed}


def differing(found: dict[str, Any], told: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """By part: ours and theirs, of the first block where they differ. What an adapter does not name is no difference."""
    assert len(found["blocks"]) == len(told["blocks"])
    odd = {end: (found[end], told[end]) for end in ENDS if told[end] is not None and found[end] != told[end]}
    for mine, theirs in zip(found["blocks"], told["blocks"], strict=True):
        for part in theirs:
            if theirs[part] is not None and mine[part] != theirs[part]:
                odd.setdefault(part, (mine[part], theirs[part]))
    return odd


@pytest.mark.parametrize("name", ALL)
def test_the_models_that_we_claim(name: str) -> None:
    hf = tiny(name)
    told = opinion(hf)
    assert told is not None
    odd = differing(ours(HookedModel(hf).layout), told)
    assert odd.keys() == DIFFERENCES.get(architecture(name), {}).keys(), odd


def test_every_causal_model_that_both_map() -> None:
    """Prints how many; run it with -s."""
    agreed, unexplained = [], {}
    for kind in MODEL_TYPES:
        hf = causal_lm(kind)
        if hf is None or (told := opinion(hf)) is None:
            continue
        try:
            odd = differing(ours(HookedModel(hf).layout), told)
        except InterpError as error:
            unexplained[kind] = {"refused": str(error)}
            continue
        if odd.keys() != DIFFERENCES.get(kind, {}).keys():
            unexplained[kind] = odd
        else:
            agreed.append(kind)
    explained = [kind for kind in agreed if kind in DIFFERENCES]
    print(
        f"{len(agreed)} types mapped by both, {len(explained)} with differences that are explained: {', '.join(agreed)}"
    )
    assert not unexplained
    assert len(agreed) > 50
