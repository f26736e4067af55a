"""What a measure counts: hand-made patterns with known values, and every measure written again query by query."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from interp.errors import TaskError
from interp.heads.row_measures import entropies, grid_of, keys_of, measured, offsets_of, token_sets
from tests.interp.parts.masks import wordpiece

IDS = torch.tensor([[1, 5, 6, 5, 6, 7], [5, 5, 5, 1, 5, 6]])
SETS = {"set": (1, 7)}


def patterns(causal: bool, seed: int = 0) -> Tensor:
    """Random rows that sum to 1 [batch head q_pos k_pos]."""
    scores = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    hidden = torch.ones(6, 6).triu(1).bool() & causal
    return torch.softmax(scores.masked_fill(hidden, -torch.inf), -1)


def slow(rows: np.ndarray, ids: list[int], name: str, causal: bool) -> float:
    """One measure of one head, query by query and key by key."""
    values = []
    for i in range(len(ids)):
        keys = [j for j in range(len(ids)) if counted(ids, i, j, name) and not (causal and j > i)]
        if keys:
            values.append(sum(rows[i, j] for j in keys))
    return float(np.mean(values)) if values else math.nan


def counted(ids: list[int], i: int, j: int, name: str) -> bool:
    if name.startswith("to_offset"):
        return j - i == int(name[10:-1])
    return {
        "to_self": i == j,
        "to_token(set)": ids[j] in SETS["set"],
        "previous_duplicate": j < i and ids[j] == ids[i],
        "induction": 0 < j < i and ids[j - 1] == ids[i],
        "sink": j == 0 and i > 0,
    }[name]


@pytest.mark.parametrize("causal", [True, False])
def test_every_measure_is_that_of_its_keys(causal: bool) -> None:
    weights = patterns(causal)
    keys = keys_of(6, IDS, causal=causal, offsets=offsets_of(None, None, causal), sets=SETS)
    found = measured(weights, keys, cls=not causal)
    assert len(keys) == (8 if causal else 11)
    for name in keys:
        for b in range(2):
            wanted = [slow(weights[b, h].numpy(), IDS[b].tolist(), name, causal) for h in range(3)]
            np.testing.assert_allclose(found[name][b], wanted, atol=1e-12, err_msg=name)
    rows = weights.numpy()
    entropy = -(rows * np.log(np.where(rows > 0, rows, 1))).sum(-1)
    np.testing.assert_allclose(found["entropy"], entropy.mean(-1), atol=1e-12)
    assert ("entropy_from_cls" in found) == (not causal)
    if not causal:
        np.testing.assert_allclose(found["entropy_from_cls"], entropy[..., 0], atol=1e-12)


def test_hand_made_heads() -> None:
    """One that looks at itself, one at the token before, one everywhere."""
    n = 6
    before = torch.eye(n)[[0, *range(n - 1)]]
    weights = torch.stack([torch.eye(n), before, torch.full((n, n), 1 / n)])[None].double()
    keys = keys_of(n, IDS[:1], causal=False, offsets=(-1, 1), sets={})
    found = {name: values[0].tolist() for name, values in measured(weights, keys, cls=True).items()}
    assert found["entropy"] == pytest.approx([0, 0, math.log(n)], abs=1e-12)
    assert found["entropy_from_cls"] == pytest.approx([0, 0, math.log(n)], abs=1e-12)
    assert found["to_self"] == pytest.approx([1, 1 / n, 1 / n])
    assert found["to_offset(-1)"] == pytest.approx([0, 1, 1 / n])
    assert found["to_offset(1)"] == pytest.approx([0, 0, 1 / n])
    assert found["sink"] == pytest.approx([0, 1 / (n - 1), 1 / n])


def test_what_goes_to_no_token_is_sink() -> None:
    weights = torch.full((1, 1, 3, 3), 0.2).double()
    found = measured(weights, keys_of(3, None, causal=False, offsets=(), sets={}), cls=False)
    assert float(found["sink"]) == pytest.approx(0.2 + 0.4)
    assert float(found["entropy"]) == pytest.approx(math.log(3))


def test_offsets_in_an_image() -> None:
    """The neighbour to the right, of patches that have one; the first position is no patch."""
    grid = grid_of(["CLS", "r0c0", "r0c1", "r1c0", "r1c1"])
    weights = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)).double()
    offsets = offsets_of([(0, 1), (1, 0)], grid, causal=False)
    found = measured(weights, keys_of(5, None, causal=False, offsets=offsets, sets={}, grid=grid), cls=False)
    w = weights[0, 0]
    assert float(found["to_offset(0,1)"]) == pytest.approx(float(w[1, 2] + w[3, 4]) / 2)
    assert float(found["to_offset(1,0)"]) == pytest.approx(float(w[1, 3] + w[2, 4]) / 2)
    assert grid_of(["the", "cat"]) is None


@pytest.mark.parametrize(
    ("offsets", "grid", "causal", "why"),
    [
        ([1], False, True, "looks at later ones"),
        ([0], False, False, "to_self"),
        ([(0, 0)], True, False, "to_self"),
        ([1], True, False, "of patches"),
        ([(0, 1)], False, False, "of tokens"),
        ([1.5], False, False, "of tokens"),
    ],
)
def test_offsets_that_nobody_has(offsets: list[object], grid: bool, causal: bool, why: str) -> None:
    with pytest.raises(TaskError, match=why):
        offsets_of(offsets, grid_of(["r0c0"]) if grid else None, causal)  # type: ignore[arg-type]


def test_sets_of_tokens() -> None:
    tokenizer = wordpiece()
    assert token_sets({"stop": ["."], "two": ["cat", 3]}, tokenizer) == {
        "stop": (tokenizer.convert_tokens_to_ids("."),), "two": (tokenizer.convert_tokens_to_ids("cat"), 3)
    }  # fmt: skip
    assert set(token_sets(None, tokenizer)["special"]) == set(tokenizer.all_special_ids)
    assert token_sets(None, None) == {}
    for wrong, why in (
        ({"x": []}, "is empty"),
        ({"x": ["cats"]}, "2 tokens|3 tokens"),
        ({"x": [1.5]}, "expected a token id"),
    ):
        with pytest.raises(TaskError, match=why):
            token_sets(wrong, tokenizer)


def test_the_entropy_of_one_hot_rows_has_a_number() -> None:
    assert entropies(torch.eye(3)).tolist() == [0, 0, 0]
