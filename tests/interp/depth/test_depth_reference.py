"""Depth of a small trained model, against numbers of an independent computation with plain transformers."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import interp
from interp.model.model import HookedModel
from interp.parts.texts import encode

SHORT = {"attention": "attn", "mlp": "mlp", "block": "block"}


@cache
def model_of(folder: Path) -> HookedModel:
    return interp.load(folder)


def known(assets: Path, name: str) -> Any:
    path = assets / "ref" / "language-models" / f"{name}.json"
    if not path.is_file():
        pytest.skip(f"there is no {path.name} among the assets")
    return json.loads(path.read_text())


def texts(assets: Path, length: int, n: int, of: int | None) -> Tensor:
    """The first n of the first stories that have so many tokens, cut to them."""
    stories = json.loads((assets / "data" / "text" / "tinystories_1000.json").read_text())
    rows = [encode(model_of(assets / "models" / "stories260K").tokenizer, story)[:length] for story in stories[:of]]
    return torch.tensor([row for row in rows if len(row) == length][:n])


def test_measures_and_voids(assets: Path) -> None:
    said, model = known(assets, "s21_depth_stories260K"), model_of(assets / "models" / "stories260K")
    given = texts(assets, 128, 200, 300)
    found = interp.layer_use(model, given, what=["streams", "voids"], alpha=0.5)
    for row in said["layers"]:
        at = row["layer"]
        assert found.of("block", "norm_in")[at] == pytest.approx(row["norm_in"], abs=1e-4)
        for part, short in SHORT.items():
            for measure, name in (("relative", "relative"), ("cosine", "cos"), ("influence", "influence")):
                assert found.of(part, measure)[at] == pytest.approx(row[f"{name}_{short}"], abs=1e-4)
    assert found.of("block", "voids") == pytest.approx(said["void_share_lac_running_range"]["0.5"], abs=1e-4)


def test_later_layers_change(assets: Path) -> None:
    """The first 64 texts."""
    said, model = known(assets, "s21_depth_stories260K"), model_of(assets / "models" / "stories260K")
    found = interp.layer_use(model, texts(assets, 128, 64, 300), what=["later"])
    assert np.array(found.later) == pytest.approx(np.array(said["relative_change_of_later_blocks"]), abs=1e-4)


@pytest.mark.slow
def test_skips(assets: Path) -> None:
    said, model = known(assets, "s21_depth_stories260K"), model_of(assets / "models" / "stories260K")
    found = interp.layer_use(model, texts(assets, 128, 200, 300), what=["skips"])
    assert found.cross_entropy == pytest.approx(said["cross_entropy"], abs=1e-4)
    for layer, part, (loss, kl) in zip(found.layers, found.parts, found.values, strict=True):
        row = said["skip_one"][f"{SHORT[part]}.{layer}"]
        assert (loss, kl) == pytest.approx((row["cross_entropy"], row["kl"]), abs=1e-4)


@pytest.mark.slow
def test_greedy_order(assets: Path) -> None:
    said = known(assets, "s21_depth_stories260K")["greedy_removal_on_first_64"]
    model, given = model_of(assets / "models" / "stories260K"), texts(assets, 128, 64, 300)
    found = interp.drop_layers(model, given, unit="both", score="perplexity", search="greedy", n=6, batch_size=8)
    assert list(found.removed) == [step["removed"] for step in said["order"]]
    losses = [said["start"], *(step["cross_entropy"] for step in said["order"])]
    assert found.cross_entropy == pytest.approx(losses, abs=1e-4)


@pytest.mark.slow
def test_chains(assets: Path) -> None:
    said, model = known(assets, "s21_chains_stories260K"), model_of(assets / "models" / "stories260K")
    given = texts(assets, 64, 64, None)
    found = interp.chain_search(model, given, holdout=False)
    losses = dict(zip(found.chains, found.column("cross_entropy"), strict=True))
    usual = tuple(range(5))
    assert losses[usual] == pytest.approx(said["cross_entropy"], abs=1e-4)
    for i in range(5):
        assert losses[usual[:i] + usual[i + 1 :]] == pytest.approx(said["skip"][str(i)], abs=1e-4)
        assert losses[usual[: i + 1] + usual[i:]] == pytest.approx(said["repeat_once"][str(i)], abs=1e-4)
    assert found.column("accuracy")[0] == pytest.approx(said["share_right"], abs=1e-4)
    assert found.column("accuracy").max() == pytest.approx(said["best_single_fixed_chain"], abs=1e-4)
    assert found.any_right == pytest.approx(said["share_right_with_best_of_11_chains_per_token"], abs=1e-4)
    for pair, loss in said["swap_neighbours"].items():
        a, b = map(int, pair.split(","))
        chain = [*range(a), b, a, *range(b + 1, 5)]
        with torch.no_grad():
            found_ = model.run(given, layers=chain).logits[:, :-1].double().log_softmax(-1)
        assert float(-found_.gather(-1, given[:, 1:, None]).mean()) == pytest.approx(loss, abs=1e-4)
