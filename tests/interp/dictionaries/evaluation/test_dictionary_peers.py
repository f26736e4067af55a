"""An evaluation beside sae-lens' own, computed live: the same dictionary, weights and tokens on a HookedTransformer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.dictionaries.evaluation.evaluate import evaluate_dictionary
from interp.dictionaries.storage import save_dictionary
from interp.model.model import HookedModel
from tests.interp.dictionaries.evaluation.evaluated import D
from tests.interp.dictionaries.random_dictionaries import made
from tests.interp.model.hooked_transformer import _transformer_lens
from tests.interp.model.tiny import ids, tiny


class _Store:
    """What sae-lens' evaluation asks of its activation store."""

    def __init__(self, batches: list[Tensor]) -> None:
        self.batches, self.next = batches, 0

    def get_batch_tokens(self, n: int) -> Tensor:
        self.next += 1
        return self.batches[(self.next - 1) % len(self.batches)]


@pytest.mark.parametrize(("site", "kind"), [("resid_post.0", "topk"), ("z.1", "gated"), ("mlp_out.1", "jumprelu")])
def test_sae_lens_evaluates_the_same(tmp_path: Path, site: str, kind: str) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    from sae_lens import evals
    from sae_lens.training.activation_scaler import ActivationScaler

    model = HookedModel(tiny("gpt2", dtype=torch.float64), name="gpt2")
    peer, batches = _transformer_lens(model.hf), [ids(6, 9, seed=seed) for seed in range(3)]
    d = made(site, D, n=48, kind=kind, normalize="layer_norm", dtype=torch.float64)
    save_dictionary(d, tmp_path / "d")
    sae = sae_lens.SAE.load_from_disk(tmp_path / "d")
    sae.turn_off_forward_pass_hook_z_reshaping()
    common: dict[str, Any] = {"activation_scaler": ActivationScaler(), "n_batches": 3, "eval_batch_size_prompts": 6}
    common["model_kwargs"] = {}
    theirs, features = evals.get_sparsity_and_variance_metrics(
        sae, peer, _Store(batches), compute_l2_norms=False, compute_sparsity_metrics=True, compute_variance_metrics=True,
        compute_featurewise_density_statistics=True, **common,
    )  # fmt: skip
    damage = evals.get_downstream_reconstruction_metrics(
        sae, peer, _Store(batches), compute_kl=False, compute_ce_loss=True, **common
    )
    found = evaluate_dictionary(model, d, batches)
    ce = found.cross_entropies
    assert found.tokens == 3 * 6 * 9 and ce.tokens == 3 * 6 * 8
    assert found.explained_variance == pytest.approx(theirs["explained_variance"], abs=1e-6)
    assert found.mse * D == pytest.approx(theirs["mse"], rel=1e-6)
    assert found.cosine == pytest.approx(theirs["cossim"], abs=1e-6)
    assert found.l0 == pytest.approx(theirs["l0"], abs=1e-5)
    assert np.allclose(found.densities, features["feature_density"], atol=1e-6)
    names = ("ce_loss_without_sae", "ce_loss_with_sae", "ce_loss_with_ablation")
    assert (ce.clean, ce.spliced, ce.zero) == pytest.approx([damage[name] for name in names], abs=1e-6)
    assert abs(ce.spliced - ce.clean) > 0.01 and 0 < found.l0 < 48
