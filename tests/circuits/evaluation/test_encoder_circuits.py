"""Circuits of encoders and classifiers: what is ablated and measured is what edits of the plain model give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from circuits.circuit.selection import discover
from circuits.evaluation.faithfulness import evaluate
from interp.model.edits import Edit
from interp.tasks.pairs.token_pairs import TokenPair
from tests.interp.attribution.on_encoders.asked import Asked, asked
from tests.interp.parts.masks import PIECES


@pytest.mark.parametrize(
    "name",
    [
        *("bert-mlm", "modernbert-mlm", "bert-classes", "gpt2-classes", "by-hand-around", "by-hand-mean"),
        "by-hand-before",
    ],
)
def test_a_circuit_is_the_model_with_the_rest_ablated(name: str) -> None:
    own = asked(name)
    scores = interp.attribute(own.model, own.task, method="atp", level="heads")
    circuit = discover(scores, n=5)
    kept = {node.name for node in circuit.nodes}
    found = evaluate(own.model, own.task, circuit, n_random=2)
    everything = {part.name for part in scores.parts}
    for value, names in ((found.full, everything), (found.empty, {"embed"}), (found.circuit, kept | {"embed"})):
        assert value == pytest.approx(np.mean([_kept(own, pair, names) for pair in own.pairs]), abs=3e-5)


def _kept(own: Asked, pair: TokenPair, names: set[str]) -> float:
    """The metric on the clean prompt, with what is not among the names as on the corrupt one."""
    corrupt = own.model.run([list(pair.corrupt)], reads=["z", "mlp_out"])
    edits = []
    for layer in range(2):
        out = [head for head in range(4) if f"a{layer}.h{head}" not in names]

        def heads(x: Tensor, layer: int = layer, out: list[int] = out) -> Tensor:
            x = x.clone()
            x[:, :, out] = corrupt[f"z.{layer}"][:, :, out]
            return x

        edits.append(Edit(f"z.{layer}", heads))
        if f"m{layer}" not in names:
            edits.append(Edit(f"mlp_out.{layer}", lambda x, layer=layer: corrupt[f"mlp_out.{layer}"]))
    with torch.no_grad():
        logits = own.model.run([list(pair.clean)], edits=edits).logits[0]
    at = logits[pair.clean.index(PIECES["[MASK]"])] if len(logits) > 1 else logits[0]
    return float(at[list(pair.answers)].mean() - at[list(pair.wrong)].mean())
