"""The learner beside sae-lens' own trainer, step by step; what it saves, goes on from, and leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.steps.learner import ARCHITECTURES, Learner, make_learner
from interp.dictionaries.training.steps.options import TRANSCODERS, plan
from interp.dictionaries.training.steps.peer import build
from interp.dictionaries.training.steps.schedules import coefficients, learning_rate
from interp.parts.sites import Site

D_IN, D_OUT, FEATURES, BATCH, STEPS = 24, 20, 96, 64, 50
AUTOENCODERS = tuple(name for name in ARCHITECTURES if name not in TRANSCODERS)
#: Losses that are not written by hand: sae-lens' classes find their gradients.
LEFT_TO_SAE_LENS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("standard", {"lp_norm": 2.0}),
    ("jumprelu", {"jumprelu_sparsity_loss_mode": "tanh", "pre_act_loss_coefficient": 1e-3}),
    ("jumprelu", {"jumprelu_ste_to_input": True}),
)
SITE, TARGET = Site("resid_post", 1), Site("mlp_out", 1)


def settings(architecture: str, **more: Any) -> dict[str, Any]:
    """With everything in it that changes during a training: schedules, warm-ups, features that die."""
    found: dict[str, Any] = {"lr": 3e-3, "lr_warm_up_steps": 5, "lr_decay_steps": 10, "dead_feature_window": 3}
    own = ARCHITECTURES[architecture]
    found |= {name: 8 for name in ("l1_warm_up_steps", "l0_warm_up_steps") if name in own}
    found |= {"k": 4} if "k" in own else {}
    found |= {"l0_coefficient": 0.1} if "l0_coefficient" in own else {}
    return found | more


def learner(architecture: str, dtype: torch.dtype = torch.float32, seed: int = 0, **more: Any) -> Learner:
    d_out = D_OUT if architecture in TRANSCODERS else D_IN
    return make_learner(architecture, D_IN, d_out, FEATURES, settings(architecture, **more), STEPS, seed, "cpu", dtype)


def batches(n: int, dtype: torch.dtype = torch.float32) -> list[tuple[Tensor, Tensor]]:
    """Sums of a few directions, and what a ReLU layer makes of them."""
    sample = torch.Generator().manual_seed(7)
    directions = torch.randn(60, D_IN, generator=sample, dtype=torch.float64)
    layer = torch.randn(D_IN, D_OUT, generator=sample, dtype=torch.float64) / D_IN**0.5
    found = []
    for _ in range(n):
        on = torch.rand(BATCH, 60, generator=sample, dtype=torch.float64)
        x = (on * (on > 0.93)) @ directions + 0.5
        found.append((x.to(dtype), (x @ layer).relu().to(dtype)))
    return found


# ---------------------------------------------------------------- beside sae-lens' trainer


def trainer_of(mine: Learner, dtype: str) -> Any:
    """sae-lens' trainer of the same settings and the same start."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    names = (
        "lr",
        "lr_end",
        "lr_scheduler_name",
        "lr_warm_up_steps",
        "lr_decay_steps",
        "n_restart_cycles",
        "dead_feature_window",
    )
    own = {name: mine.plan[name] for name in names}
    config = SAETrainerConfig(total_training_samples=BATCH * STEPS, train_batch_size_samples=BATCH, **own)
    sae = build(mine.plan).to(dtype=getattr(torch, dtype))
    if hasattr(sae, "topk_threshold"):
        sae.topk_threshold = sae.topk_threshold.double()
    return SAETrainer(config, sae, iter([]))


@pytest.mark.broad
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("schedule", ["constant", "cosineannealing"])
@pytest.mark.parametrize(
    ("architecture", "more"),
    [
        *((name, {}) for name in AUTOENCODERS),
        *LEFT_TO_SAE_LENS,
        ("jumprelu", {"jumprelu_sparsity_loss_mode": "quadratic", "target_l0": 5.0}),
    ],
)
def test_fifty_steps_end_where_sae_lens_trainer_ends(
    architecture: str, more: dict[str, Any], schedule: str, dtype: str
) -> None:
    """Losses of each step, dead features and final weights. In float32 a choice of features may fall the other way once; the
    thresholds of JumpReLU are float32 in sae-lens whatever the rest is."""
    tolerance = 2e-3 if dtype == "float32" else 1e-6 if architecture == "jumprelu" else 1e-9
    mine = learner(architecture, getattr(torch, dtype), lr_scheduler_name=schedule, **more)
    trainer = trainer_of(mine, dtype)
    died = 0
    for x, _ in batches(STEPS, getattr(torch, dtype)):
        measures = mine.learn(x)
        theirs = trainer.step(x)
        trainer.n_training_steps += 1
        torch.testing.assert_close(measures.loss, theirs.loss.detach(), rtol=tolerance, atol=tolerance)
        assert float(measures.l0) == pytest.approx(
            float((theirs.feature_acts > 0).sum(-1).double().mean()), rel=tolerance
        )
        if dtype == "float64":
            assert float(measures.dead) == pytest.approx(float(trainer.dead_neurons.double().mean()), abs=1e-6)
        died = max(died, int(trainer.dead_neurons.sum()))
    state = mine.state()
    for name, p in trainer.sae.named_parameters():
        torch.testing.assert_close(state[f"weight.{name}"], p.detach(), rtol=tolerance, atol=tolerance)
    if architecture in ("topk", "batchtopk", "matryoshka"):
        assert died  # so that their losses on dead features were compared too


@pytest.mark.parametrize("name", ["constant", "cosineannealing", "cosineannealingwarmrestarts"])
@pytest.mark.parametrize(("warm", "decay"), [(0, 0), (1, 0), (7, 0), (0, 9), (7, 9)])
def test_the_learning_rate_is_sae_lens_at_every_step(name: str, warm: int, decay: int) -> None:
    from sae_lens.training.optim import get_lr_scheduler

    options = {"lr": 0.01, "lr_end": 0.002, "lr_scheduler_name": name, "n_restart_cycles": 2}
    how = plan("standard", 8, 8, 8, options | {"lr_warm_up_steps": warm, "lr_decay_steps": decay}, 40, 0)
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=0.01)
    theirs = get_lr_scheduler(
        name, optimizer=optimizer, training_steps=40, lr=0.01, warm_up_steps=warm, decay_steps=decay, lr_end=0.002, num_cycles=2
    )  # fmt: skip
    for step in range(40):
        assert learning_rate(how, step) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9, abs=1e-12), step
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("warm", [0, 1, 6])
def test_the_sparsity_coefficient_is_sae_lens_at_every_step(warm: int) -> None:
    from sae_lens.training.optim import CoefficientScheduler

    how = plan("standard", 8, 8, 8, {"l1_coefficient": 3.0, "l1_warm_up_steps": warm}, 20, 0)
    theirs = CoefficientScheduler(warm, 3.0)
    for step in range(10):
        assert coefficients(how, step) == {"l1": pytest.approx(theirs.value)}
        theirs.step()


# ---------------------------------------------------------------- state


@pytest.mark.broad
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("architecture", "more"), [*((name, {}) for name in ARCHITECTURES), *LEFT_TO_SAE_LENS])
def test_a_training_goes_on_bit_for_bit(architecture: str, more: dict[str, Any], dtype: torch.dtype) -> None:
    """Half of it, its state written down and read into a learner of another seed, the other half: all tensors as without a break."""
    data = batches(24, dtype)
    more = more | {"normalize_activations": "expected_average_only_in"}
    whole = learner(architecture, dtype, **more)
    whole.prepare(*data[0])
    state = {}
    for i, (x, y) in enumerate(data):
        if i == 12:
            state = whole.state()
        whole.learn(x, y)
    second = learner(architecture, dtype, seed=5, **more)
    second.load(state)
    for x, y in data[12:]:
        second.learn(x, y)
    wanted, found = whole.state(), second.state()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(wanted[name], found[name]) for name in wanted)
    assert not torch.equal(state["weight.W_enc"], wanted["weight.W_enc"])  # a state is a copy, and training moved on


def test_a_state_that_does_not_fit_is_refused() -> None:
    state = learner("topk").state()
    with pytest.raises(DictionaryError, match="'since_fired' is missing"):
        learner("topk").load({name: x for name, x in state.items() if name != "since_fired"})
    with pytest.raises(DictionaryError, match="'threshold' is missing"):
        learner("batchtopk").load(state)
    with pytest.raises(DictionaryError, match=r"expected torch\.float64"):
        learner("topk", torch.float64).load(state)


# ---------------------------------------------------------------- what comes of it


@pytest.mark.parametrize("normalize", ["none", "expected_average_only_in", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("architecture", AUTOENCODERS)
def test_the_dictionary_is_what_sae_lens_saves(architecture: str, normalize: str, tmp_path: Path) -> None:
    """Features and reconstruction of the folder that sae-lens itself writes after the same training and reads again."""
    from sae_lens import SAE

    if normalize in ("layer_norm", "constant_norm_rescale") and architecture not in ("standard", "jumprelu"):
        with pytest.raises(DictionaryError, match="auxiliary loss"):
            learner(architecture, normalize_activations=normalize)
        return
    mine = learner(architecture, torch.float64, normalize_activations=normalize)
    data = batches(20, torch.float64)
    mine.prepare(data[0][0])
    for x, _ in data:
        mine.learn(x)
    state, sae = mine.state(), build(mine.plan).to(dtype=torch.float64)
    sae.load_state_dict({name: state.get(f"weight.{name}", state.get("threshold")) for name in sae.state_dict()})
    if normalize == "expected_average_only_in":
        sae.fold_activation_norm_scaling_factor(float(state["scale"][0]))
    sae.save_inference_model(tmp_path)
    theirs = SAE.load_from_disk(tmp_path, dtype="float64")
    found = mine.dictionary(SITE, SITE, {"steps": 20})
    x = data[-1][0]
    # a threshold that jumprelu or batchtopk learnt is float32 in sae-lens, and some of its features are on the edge
    features = found.encode(x)
    torch.testing.assert_close(features, theirs.encode(x).detach(), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.reconstruct(x), theirs(x).detach(), rtol=1e-6, atol=1e-6)
    assert (features > 0).any() and found.details == {"steps": 20} and not found.transcoder


@pytest.mark.parametrize("architecture", TRANSCODERS)
def test_a_transcoder_s_dictionary_makes_up_what_it_was_trained_on(architecture: str) -> None:
    """In the units of the activations, the error that the training saw: with another scale for inputs than for targets."""
    mine = learner(architecture, torch.float64, normalize_activations="expected_average_only_in")
    data = batches(40, torch.float64)
    mine.prepare(*data[0])
    for x, y in data:
        before = mine.dictionary(SITE, TARGET, {})
        measures = mine.learn(x, 3 * y)
    wanted = 1 - (before.reconstruct(x) - 3 * y).square().sum() / (3 * y - 3 * y.mean(0)).square().sum()
    # BatchTopK's threshold comes from earlier batches: about k features of a token, not exactly
    tolerance = 0.1 if architecture == "batchtopk_transcoder" else 1e-6
    assert float(measures.explained_variance) == pytest.approx(float(wanted), abs=tolerance)
    assert (
        before.transcoder and before.b_in is None and (before.W_skip is not None) == (architecture == "skip_transcoder")
    )
    if before.W_skip is not None:
        assert float(before.W_skip.abs().max()) > 0.01


def test_measures_are_what_they_say() -> None:
    mine = learner("standard", torch.float64)
    (x, _), (later, _) = batches(2, torch.float64)
    mine.learn(x)
    before = mine.dictionary(SITE, SITE, {})
    measures = mine.learn(later)
    made = before.reconstruct(later)
    error = sum(float(((row - other) ** 2).sum()) for row, other in zip(later, made, strict=True))
    mean = torch.stack(list(later)).sum(0) / len(later)
    spread = sum(float(((row - mean) ** 2).sum()) for row in later)
    numbers = measures.numbers()
    assert numbers["explained_variance"] == pytest.approx(1 - error / spread, rel=1e-9)
    assert numbers["l0"] == pytest.approx(sum(int((row > 0).sum()) for row in before.encode(later)) / len(later))
    assert numbers["mse_loss"] == pytest.approx(error / len(later)) and numbers["dead"] == 0
    assert numbers["loss"] == pytest.approx(numbers["mse_loss"] + numbers["l1_loss"])


@pytest.mark.parametrize("architecture", ["topk", "gated", "transcoder"])
def test_prepare_centres_and_scales(architecture: str) -> None:
    """The mean is made up with no feature at all, the encoder sees centred inputs, and mean norms are sqrt(width)."""
    x, y = batches(1, torch.float64)[0]
    mine = learner(architecture, torch.float64, normalize_activations="expected_average_only_in")
    mine.prepare(x, y)
    found = mine.dictionary(SITE, TARGET if architecture == "transcoder" else SITE, {})
    torch.testing.assert_close(found.b_dec, (y if architecture == "transcoder" else x).mean(0))
    assert float(found.encoder_output(x).mean(0).abs().max()) < 1e-9
    scale = mine.state()["scale"]
    assert float((x * scale[0]).norm(dim=1).mean()) == pytest.approx(D_IN**0.5)
    if architecture == "transcoder":
        assert float((y * scale[1]).norm(dim=1).mean()) == pytest.approx(D_OUT**0.5)
