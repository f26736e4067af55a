"""Edits and reads that a run cannot make: each is refused in the words of what was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import interp
from interp.errors import EditError, SiteError
from tests.interp.model.tiny import hooked

IDS = torch.tensor([[3, 4, 5, 6, 7]])


@pytest.fixture(scope="module")
def model() -> Any:
    return hooked("gpt2")


def last(n: int) -> str:
    return f"0 to {n - 1}"


REFUSED: dict[str, tuple[Callable[[], Any], Callable[[Any], str]]] = {
    "head": (lambda: interp.zero("z.1", heads=99), lambda m: f"heads=99 at z.1: .*heads {last(m.layout.n_heads)}"),
    "head of a pattern": (
        lambda: interp.zero("pattern.1", heads=99),
        lambda m: f"heads=99 at pattern.1: .*heads {last(m.layout.n_heads)}",
    ),
    "position": (lambda: interp.add("z.1", 1.0, positions=99), lambda m: f"positions=99 at z.1: .*positions {last(5)}"),
    "a later position": (
        lambda: interp.patch("embed", 1.0, positions=[0, 5]),
        lambda m: rf"positions=\[0, 5\] at embed: .*positions {last(5)}",
    ),
    "position of a pattern": (
        lambda: interp.zero("pattern.1", positions=torch.tensor([8])),
        lambda m: f"at pattern.1: .*positions {last(5)}",
    ),
    "head by name": (lambda: interp.zero("z.1", heads="a"), lambda m: "heads='a' at z.1: .*whole numbers"),
    "mask of another length": (
        lambda: interp.zero("z.1", heads=torch.tensor([True])),
        lambda m: rf"heads=tensor\(\[True\]\) at z.1: .*heads {last(m.layout.n_heads)}",
    ),
    "patch of another shape": (
        lambda: interp.patch("z.1", torch.zeros(9999)),
        lambda m: r"patch at z.1: value of shape \(9999,\)",
    ),
    "vector of another shape": (
        lambda: interp.add("resid_post.1", torch.zeros(9999)),
        lambda m: r"add at resid_post.1: vector of shape \(9999,\); expected \(1, 5, ",
    ),
    "vector of more axes": (
        lambda: interp.add("resid_post.1", torch.zeros(2, 1, 1, 1)),
        lambda m: r"add at resid_post.1: vector of shape \(2, 1, 1, 1\)",
    ),
    "patch by text": (lambda: interp.patch("z.1", "a"), lambda m: "patch at z.1: given 'a'; expected a tensor"),  # type: ignore[arg-type]
    "vector of text": (lambda: interp.add("z.1", "a"), lambda m: "add at z.1: given 'a'; expected a tensor"),  # type: ignore[arg-type]
    "a number for a function": (
        lambda: interp.Edit("z.1", 3),  # type: ignore[arg-type]
        lambda m: "edit at z.1: given 3; expected a function",
    ),
    "no edit": (lambda: "z.1", lambda m: "edits: given 'z.1'; expected edits"),
}


@pytest.mark.parametrize("made, words", REFUSED.values(), ids=REFUSED)
def test_edits_that_cannot_be_made(model: Any, made: Callable[[], Any], words: Callable[[Any], str]) -> None:
    with pytest.raises(EditError, match=words(model)):
        model.run(IDS, edits=[made()])


@pytest.mark.parametrize(
    "site, words",
    [
        ("z.99", "layer 99 does not exist; this model has layers 0 to"),
        (interp.Site("z", 99), "layer 99 does not exist"),
        ("z.-1", "unknown site 'z.-1'"),
        (3, "site 3: expected a name"),
        (None, "site None: expected a name"),
    ],
)
def test_sites_that_are_not_there(model: Any, site: Any, words: str) -> None:
    with pytest.raises(SiteError, match=words):
        model.run(IDS, reads=[site])
    with pytest.raises(SiteError, match=words):
        model.run(IDS, edits=[interp.Edit(site, torch.zeros_like)])


def test_what_is_in_range_is_still_edited(model: Any) -> None:
    """The last head and position, counted from either end; a vector that broadcasts."""
    heads = model.layout.n_heads
    for head in (heads - 1, -1):
        z = model.run(IDS, reads=["z.1"], edits=[interp.zero("z.1", heads=head)])["z.1"]
        assert not z[:, :, -1].any() and z[:, :, :-1].any()
    x = model.run(IDS, reads=["resid_post.0"])["resid_post.0"]
    vector = torch.arange(float(x.shape[-1]))
    y = model.run(IDS, reads=["resid_post.0"], edits=[interp.add("resid_post.0", vector, scale=2.0, positions=-1)])
    torch.testing.assert_close(y["resid_post.0"][:, -1], x[:, -1] + 2 * vector)
    assert torch.equal(y["resid_post.0"][:, :-1], x[:, :-1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@torch.no_grad()
def test_entries_that_no_edit_changes_stay_where_the_value_is_a_multiple(dtype: torch.dtype) -> None:
    """Granite adds 0.22 of what its sublayers give; dividing by that again would round."""
    model = hooked("granite", dtype=dtype)
    expected = model.run(IDS).logits
    for site in ("attn_out", "mlp_out"):
        assert torch.equal(model.run(IDS, edits=[interp.Edit(site, lambda x: x)]).logits, expected), site
    seen: list[torch.Tensor] = []
    hook = model.hf.model.layers[0].mlp.register_forward_hook(lambda m, a, y: seen.append(y.clone()))
    model.run(IDS)
    hook.remove()
    hook = model.hf.model.layers[0].register_forward_hook(lambda m, a, y: seen.append(y.clone()))
    model.run(IDS, edits=[interp.zero("mlp_out.0", positions=0)])
    run = model.run(IDS, reads=["resid_mid.0"])
    hook.remove()
    whole = run["resid_mid.0"] + 0.22 * seen[0]
    assert torch.equal(seen[1][:, 1:], whole.to(dtype)[:, 1:]) and torch.equal(seen[1][:, 0], run["resid_mid.0"][:, 0])
