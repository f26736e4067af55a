"""What layers are used for, against the formulas written slowly on the reads of plain runs and on models without the parts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.depth.stream_measures import void_shares
from interp.errors import InterpError, LayoutError, MethodError, TaskError
from interp.ledger import counting
from interp.model.model import HookedModel
from tests.interp.model.encoders import models as encoders
from tests.interp.model.several import made as several
from tests.interp.model.tiny import hooked, ids

NAMES = ["llama", "gpt2", "gemma2", "phi", "granite"]
TEXTS = ids(3, 9)


def streams(model: HookedModel, given: Tensor, kind: str, layer: int) -> Tensor:
    with torch.no_grad():
        return model.run(given, [f"{kind}.{layer}"])[f"{kind}.{layer}"].double()


def mean(values: Tensor) -> float:
    return float(values[:, 1:].mean())


@pytest.mark.parametrize("name", NAMES)
def test_measures_of_the_stream_are_the_formulas(name: str) -> None:
    model = hooked(name)
    found = interp.layer_use(model, TEXTS)
    for layer in range(2):
        x, y = (streams(model, TEXTS, kind, layer) for kind in ("resid_pre", "resid_post"))
        a, m = (streams(model, TEXTS, kind, layer) for kind in ("attn_out", "mlp_out"))
        between = x if model.layout.blocks[layer].parallel else x + a
        for part, read, added, behind in (
            ("block", x, y - x, y),
            ("attention", x, a, x + a),
            ("mlp", between, m, between + m),
        ):
            size, of_added = read.norm(dim=-1), added.norm(dim=-1)
            slow = {
                "norm_in": mean(size),
                "norm": mean(of_added),
                "relative": mean(of_added / size),
                "cosine": mean((read * added).sum(-1) / (size * of_added)),
                "influence": mean(1 - (read * behind).sum(-1) / (size * behind.norm(dim=-1))),
            }
            assert {k: float(found.of(part, k)[layer]) for k in slow} == pytest.approx(slow, rel=1e-4, abs=1e-6)


def test_a_norm_around_a_sum_is_part_of_what_a_layer_does() -> None:
    model = encoders.known("bert")
    found = interp.layer_use(model, TEXTS)
    x, mid, y = (streams(model, TEXTS, kind, 1) for kind in ("resid_pre", "resid_mid", "resid_post"))
    for part, before, behind in (("attention", x, mid), ("mlp", mid, y), ("block", x, y)):
        turned = mean(1 - torch.cosine_similarity(before, behind, dim=-1))
        assert found.of(part, "influence")[1] == pytest.approx(turned, rel=1e-4)


@pytest.mark.parametrize("name", ["llama", "phi"])
def test_what_becomes_of_the_model_without_each_part(name: str) -> None:
    """Every part by a whole run with edits; answers are next tokens, the first too, and runs of a task end at its last position."""
    model = hooked(name)
    found = interp.layer_use(model, TEXTS, what=["skips"])
    parts = {"attention": ["attn_out"], "mlp": ["mlp_out"], "block": ["attn_out", "mlp_out"]}
    with torch.no_grad():
        full = model.run(TEXTS).logits[:, :-1].double().log_softmax(-1)
        answers = TEXTS[:, 1:, None]
        assert found.cross_entropy == pytest.approx(float(-full.gather(-1, answers).mean()), rel=1e-5)
        for layer, part, (loss, kl) in zip(found.layers, found.parts, found.values, strict=True):
            edits = [interp.zero(f"{kind}.{layer}") for kind in parts[part]]
            without = model.run(TEXTS, edits=edits).logits[:, :-1].double().log_softmax(-1)
            assert loss == pytest.approx(float(-without.gather(-1, answers).mean()), rel=1e-5)
            assert kl == pytest.approx(float((full.exp() * (full - without)).sum(-1).mean()), rel=1e-4)


@pytest.mark.parametrize("future", [False, True])
def test_later_layers_change_by_what_they_took(future: bool) -> None:
    model = hooked("llama", num_hidden_layers=3)
    name = "future" if future else "later"
    found = np.array(getattr(interp.layer_use(model, TEXTS, what=[name]), name))
    cut = (1 + TEXTS.shape[1]) // 2 if future else TEXTS.shape[1]
    kinds = [f"{kind}.{j}" for kind in ("resid_pre", "resid_post") for j in range(3)]
    with torch.no_grad():
        base = model.run(TEXTS, kinds)
        for layer in range(3):
            kept = interp.patch(f"resid_post.{layer}", base[f"resid_pre.{layer}"][:, :cut], positions=slice(0, cut))
            run = model.run(TEXTS, kinds, edits=[kept])
            for j in range(layer + 1, 3):
                before, after = (r[f"resid_post.{j}"] - r[f"resid_pre.{j}"] for r in (base, run))
                change = (after - before).norm(dim=-1) / before.norm(dim=-1)
                slow = float(change[:, cut:].mean()) if future else mean(change)
                assert found[layer, j] == pytest.approx(slow, rel=1e-4) and slow > 0
    assert not np.tril(found).any()


def voids_by_hand(norms: list[list[float]], alpha: float, running: bool) -> list[float]:
    counts = [0] * (len(norms[0]) - 1)
    for token in norms:
        delta = [b - a for a, b in pairwise(token)]
        for i, own in enumerate(delta):
            seen = delta[: i + 1] if running else delta
            counts[i] += own < alpha * (max(seen) - min(seen))
    return [n / len(norms) for n in counts]


@pytest.mark.parametrize("running", [True, False])
def test_voids_by_hand(running: bool) -> None:
    norms = torch.rand(6, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).cumsum(0)
    norms[3] -= 1
    for alpha in (0.0, 0.4, 0.9):
        assert void_shares(norms, alpha, running).tolist() == pytest.approx(
            voids_by_hand(norms.T.tolist(), alpha, running)
        )
    model = hooked("gpt2")
    lengths = torch.stack([streams(model, TEXTS, f"resid_{k}", i)[:, 1:].norm(dim=-1).flatten() for k, i in (("pre", 0), ("post", 0), ("post", 1))])  # fmt: skip
    found = interp.layer_use(model, TEXTS, what=["voids"], alpha=0.5, running=running)
    assert found.of("block", "voids").tolist() == voids_by_hand(lengths.T.tolist(), 0.5, running)


def test_the_lens_agrees_with_the_model_behind_its_last_layer() -> None:
    model = hooked("gemma2")
    found = interp.layer_use(model, TEXTS, what=["lens"])
    with torch.no_grad():
        full = model.run(TEXTS).logits[:, :-1].log_softmax(-1)
    first = interp.logit_lens(model, TEXTS, sites="resid_post.0").logits[0][:, :-1].log_softmax(-1)
    kl = float((full.exp() * (full - first)).sum(-1).mean())
    assert found.of("block", "lens_kl").tolist() == pytest.approx([kl, 0.0], rel=1e-4, abs=1e-6)


def test_measures_of_one_forward_cost_one_forward() -> None:
    model = hooked("llama")
    with counting() as one, torch.no_grad():
        model.run(TEXTS)
    with counting() as all_:
        interp.layer_use(model, TEXTS, what=["streams", "lens", "voids"], alpha=0.5)
    assert all_.total <= 1.1 * one.total


def test_batches_and_lengths_change_nothing() -> None:
    model = hooked("gpt2")
    texts = [row.tolist() for row in TEXTS] + [ids(1, 5, seed=3)[0].tolist()]
    what = ["streams", "skips", "lens", "voids"]
    one, other = (interp.layer_use(model, texts, what=what, alpha=0.5, batch_size=n) for n in (1, 4))
    assert np.allclose(one.values, other.values, atol=1e-6, equal_nan=True) and one.n == 3 * 8 + 4


@pytest.mark.parametrize(
    ("given", "options", "kind", "said"),
    [
        ([[5]], {}, TaskError, "text 1 of 1 has 1 tokens; expected 3"),
        ([], {}, TaskError, "no texts given"),
        (TEXTS, {"what": []}, MethodError, "nothing asked for"),
        (TEXTS, {"what": ["void"]}, MethodError, "Did you mean voids"),
        (TEXTS, {"what": ["voids"]}, MethodError, "no default is published"),
        (TEXTS, {"alpha": 0.5}, MethodError, "alpha belongs to"),
        (TEXTS, {"what": ["voids"], "alpha": float("nan")}, MethodError, "expected 0 or more"),
        ([[5, 6, 7]], {"what": ["voids"], "alpha": -1}, MethodError, "expected 0 or more"),
        ([[5, 6]], {"what": ["future"], "keep_bos": False}, TaskError, "expected 3"),
        (TEXTS, {"batch_size": 0}, InterpError, "batch_size"),
    ],
)
def test_what_cannot_be_asked(given: Any, options: dict[str, Any], kind: type[InterpError], said: str) -> None:
    with pytest.raises(kind, match=said):
        interp.layer_use(hooked("llama"), given, **options)


def test_models_of_other_kinds_are_refused_by_name() -> None:
    with pytest.raises(LayoutError, match="several stacks"):
        interp.layer_use(several.known(several.NAMES[0]), TEXTS)
    with pytest.raises(TaskError, match="predicts no next tokens"):
        interp.layer_use(encoders.known("bert-mlm"), TEXTS, what=["skips"])
