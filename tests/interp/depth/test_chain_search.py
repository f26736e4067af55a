"""Chains that are searched: each against a whole run of it, halves that do not meet, and noise of the divergence that it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import interp
from interp.depth.material import Material
from interp.depth.perturbed import Noise
from interp.errors import InterpError
from interp.ledger import counting
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import toy_task

TEXTS = ids(6, 8)


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi"])
def test_each_chain_is_a_whole_run_of_it(name: str) -> None:
    model = hooked(name, **({"n_layer": 3} if name == "gpt2" else {"num_hidden_layers": 3}))
    found = interp.chain_search(model, TEXTS, holdout=False, budget=11)
    assert found.chains[0] == (0, 1, 2) and len(set(found.chains)) == len(found.chains) == 12
    right = []
    for chain, row in zip(found.chains, found.values, strict=True):
        with torch.no_grad():
            logits = model.run(TEXTS, layers=chain).logits[:, :-1].double().log_softmax(-1)
        answers = TEXTS[:, 1:]
        right.append(logits.argmax(-1) == answers)
        assert row[0] == row[3] == pytest.approx(float(-logits.gather(-1, answers[..., None]).mean()), rel=1e-5)
        assert row[2] == pytest.approx(float(right[-1].double().mean()))
    assert found.any_right == pytest.approx(float(torch.stack(right).any(0).double().mean()))
    assert found.best == found.chains[int(np.argmin(found.values[:, 0]))]
    assert found.values[0, 1] == 0 and (found.values[1:, 1] > 0).all()


def test_further_chains_are_a_move_on_the_best_so_far() -> None:
    model = hooked("llama", num_hidden_layers=3)
    found = interp.chain_search(model, TEXTS, moves=["skip"], budget=4, holdout=False)
    assert set(found.chains[:4]) == {(0, 1, 2), (1, 2), (0, 2), (0, 1)}
    best = found.chains[1 + int(np.argmin(found.values[1:4, 0]))]
    assert len(found.chains[4]) == 1 and set(found.chains[4]) < set(best)


def test_chains_are_chosen_on_prompts_that_do_not_judge() -> None:
    """By searches of either half alone; of a task pairs of one prompt stay together."""
    model = hooked("gpt2")
    task = toy_task(8)
    found = interp.chain_search(model, task, seed=3)
    pairs = task.tokenize(None, model.layout.d_vocab)
    halves = [task.at(places) for places in task.split_places(3, tokens=pairs)]
    own, other = (interp.chain_search(model, half, holdout=False) for half in halves)
    assert np.allclose(found.values[:, :3], own.values[:, :3], atol=1e-6)
    assert np.allclose(found.values[:, 3:], other.values[:, 3:], atol=1e-6)
    assert found.held_out and found.n == (len(halves[0]), len(halves[1])) and found.any_right == other.any_right
    texts = interp.chain_search(model, TEXTS)
    assert texts.n == (3, 3) and "held-out" in str(texts)
    low, high = texts.interval
    assert low <= texts.values[texts.chosen, 3] - texts.values[0, 3] + 1e-9 and high >= low


def test_noise_is_as_far_as_it_is_asked_to_be() -> None:
    model = hooked("llama")
    noise = Noise.of(Material.of(model, ids(24, 12)), 0)
    assert (np.diff(noise.kl) >= 0).all()
    for wanted in (0.05, 0.5, 2.0):
        share, kl = noise.best_of([wanted] * 4)
        assert kl == pytest.approx(wanted, rel=0.35) and 0 <= share <= 1
    alone, kl = noise.best_of([])
    with torch.no_grad():
        right = model.run(ids(24, 12)).logits[:, :-1].argmax(-1) == ids(24, 12)[:, 1:]
    assert alone == pytest.approx(float(right.double().mean())) and kl == 0


def test_more_noise_finds_more_right_answers() -> None:
    """The null that a choice for each answer is to be compared with: it grows with how many there are to choose from."""
    noise = Noise.of(Material.of(hooked("llama"), ids(24, 12)), 0)
    shares = [noise.best_of([1.0] * n)[0] for n in (0, 4, 12)]
    assert shares[0] < shares[1] < shares[2]


def test_a_chain_costs_its_blocks_from_where_it_leaves_the_usual_one() -> None:
    model = hooked("llama", num_hidden_layers=4)
    with counting() as one, torch.no_grad():
        model.run(TEXTS)
    with counting() as spent:
        interp.chain_search(model, TEXTS, moves=["skip"], holdout=False)
    noise = (2 + (12 + 4) * 0.5) * one.total
    assert spent.total < noise + 2 * (1 + 4 * 0.75 + 1) * one.total


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"moves": []}, "none given"),
        ({"moves": ["swap"]}, "unknown move"),
        ({"budget": 3}, "budget=3: 4 moves"),
        ({"budget": 0}, "budget=0"),
        ({"task": TEXTS[:1]}, "one text"),
        ({"task": [[5]]}, "expected 2"),
    ],
)
def test_what_cannot_be_searched(options: dict[str, Any], said: str) -> None:
    given = options.pop("task", TEXTS)
    with pytest.raises(InterpError, match=said):
        interp.chain_search(hooked("llama"), given, **options)
