"""Ablations: what a kind may hold, and what its functions have to give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from interp.errors import MethodError
from interp.tasks.ablations import ABLATIONS, Kind, ablations_beside, check_direction
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import make_ablation
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task


def pairs() -> list[TokenPair]:
    model = hooked("gpt2")
    return toy_task(4).tokenize(None, model.layout.d_vocab)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The ablation of a kind that is registered for the time of a test."""

    def make(**parts: Any) -> Any:
        monkeypatch.setitem(ABLATIONS, "own", Kind("own", "something", **parts))
        return make_ablation("own", hooked("gpt2"), pairs(), [], 0, 2)

    return make


@pytest.mark.parametrize(
    "parts",
    [
        {"paired": True, "partners": lambda lengths, seed: []},
        {"paired": True, "values": lambda prompts: {}},
        {"partners": lambda lengths, seed: [], "values": lambda prompts: {}},
    ],
)
def test_a_kind_is_one_of_the_four(parts: dict[str, Any]) -> None:
    with pytest.raises(MethodError, match=f"has {' and '.join(parts)}; expected one of them"):
        Kind("own", "something", **parts)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "gave a NoneType; expected tensors by key"),
        ({"embed": 3.0}, "gave a float at embed"),
        ({"embed": torch.zeros(4, 8)}, r"gave shape \(4, 8\) at embed; expected a tensor \[1 1"),
        ({"embed": torch.zeros(1, 3, 8)}, r"gave shape \(1, 3, 8\)"),
    ],
)
def test_fixed_values_have_one_value_for_all_prompts_and_positions(given: Any, said: str, made: Any) -> None:
    with pytest.raises(MethodError, match=said):
        made(values=lambda prompts: given)


@pytest.mark.parametrize("given", [[1.0, 0.0, 3.0, 2.0], [1, 0], [9, 0, 3, 2], [-1, 0, 3, 2], ["b", "a", "d", "c"]])
def test_partners_are_pairs_of_the_same_length(given: Sequence[Any], made: Any) -> None:
    with pytest.raises(MethodError, match="expected one"):
        made(partners=lambda lengths, seed: given)


def test_partners_and_values_arrive(made: Any) -> None:
    n = len(pairs())
    turned = [*range(1, n), 0]
    same = len({pair.length for pair in pairs()}) == 1
    assert same and made(partners=lambda lengths, seed: turned).partners == turned
    value = torch.full((1, 1, 8), 2.0)
    assert made(values=lambda prompts: {"embed": value}).means["embed"] is value


@pytest.mark.parametrize("kind", ["men", ["mean"], None])
def test_what_is_no_ablation_is_refused_by_name(kind: Any) -> None:
    with pytest.raises(MethodError, match="unknown ablation"):
        check_direction(kind, None)


@pytest.mark.parametrize("kind", list(ABLATIONS))
def test_another_ablation_is_never_the_same_and_none_is_none(kind: str) -> None:
    found = ablations_beside(kind)
    assert len(found) == 2 and kind not in found and set(found) <= {"counterfactual", "mean", "zero"}
    assert ablations_beside(kind, "none") == ()
    for asked, other in ABLATIONS.items():
        if other.learn is not None and asked != kind:
            with pytest.raises(MethodError, match="learned on the pairs that were scored"):
                ablations_beside(kind, asked)
        elif asked != kind:
            assert ablations_beside(kind, asked) == (asked,)
    with pytest.raises(MethodError, match="used already"):
        ablations_beside(kind, kind)
    with pytest.raises(MethodError, match="Valid"):
        ablations_beside(kind, "nought")
