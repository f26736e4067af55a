"""States of recurrent layers against torch's own outputs, and edits against runs that are cut in two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import interp
from interp.errors import InterpError
from interp.model.nets.net import Net
from interp.recurrent import StateEdit, states
from tests.interp.model.nets.made import RECURRENT, Letters, drawn, settled

KINDS: dict[str, Callable[..., Any]] = {
    **RECURRENT,
    "no bias": lambda *args, **options: nn.GRU(*args, bias=False, **options),
}


def made(kind: str, **options: Any) -> Any:
    return settled(KINDS[kind](4, 5, num_layers=2, **options)).double()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options", ({"batch_first": True}, {}, {"bidirectional": True}), ids=("batch first", "steps first", "both ways")
)
def test_states_are_those_of_the_module(kind: str, options: dict[str, Any]) -> None:
    module = made(kind, **options)
    x = drawn(3, 6, 4, dtype=torch.float64)
    given = x if module.batch_first else x.transpose(0, 1)
    found = states(module, given)
    output, last = module(given)
    last = last if isinstance(last, tuple) else (last,)
    assert torch.allclose(found.output, output, rtol=0, atol=1e-14) and found.result is None
    assert (found.c is None) == (len(last) == 1)
    for state, end in zip((found.h, found.c), last, strict=False):
        assert state is not None
        own = torch.stack([layer[:, 0 if module.bidirectional and i % 2 else -1] for i, layer in enumerate(state)])
        assert torch.allclose(own, end, rtol=0, atol=1e-14)
    one = states(module, given[0] if module.batch_first else given[:, 0])
    assert torch.allclose(one.h, found.h[:, :1], rtol=0, atol=1e-14) and one.output.shape == (6, output.shape[-1])


@pytest.mark.parametrize("kind", ("lstm", "gru", "rnn"))
def test_an_edit_is_a_run_that_begins_with_it(kind: str) -> None:
    module = made(kind, batch_first=True)
    x = drawn(3, 6, 4, dtype=torch.float64)
    plain = states(module, x)
    edited = states(
        module,
        x,
        edits=[
            StateEdit(1, 2, 3, 0.5),
            StateEdit(0, 2, [0, 1], torch.tensor([0.1, -0.2], dtype=torch.float64), add=True),
        ],
    )
    start = plain.h[:, :, 2].clone()
    start[0, :, 0] += 0.1
    start[0, :, 1] -= 0.2
    assert torch.allclose(edited.h[0, :, 2], start[0]) and torch.equal(edited.h[:, :, :2], plain.h[:, :, :2])
    start[1] = edited.h[1, :, 2]  # made of the edited layer below
    assert bool((start[1][:, 3] == 0.5).all())
    memory = () if edited.c is None else (edited.c[:, :, 2],)
    rest, _ = module(x[:, 3:], (start, *memory) if memory else start)
    assert torch.allclose(edited.output[:, 3:], rest, rtol=0, atol=1e-14)


def test_the_memory_is_edited_before_it_is_shown() -> None:
    module = made("lstm", batch_first=True)
    x = drawn(2, 5, 4, dtype=torch.float64)
    found = states(module, x, edits=[StateEdit(0, None, 1, 0.0, "c")])
    assert found.c is not None and not bool(found.c[0, :, :, 1].any()) and not bool(found.h[0, :, :, 1].any())
    held = states(module, x, edits=[StateEdit(1, slice(2, 4), None, 0.3)])
    assert bool((held.output[:, 2:4] == 0.3).all()) and not bool((held.output[:, 4] == 0.3).any())


def test_a_net_reads_the_edited_states() -> None:
    net = settled(Letters()).double()
    ids = torch.tensor([[1, 5, 10, 0], [3, 3, 2, 7]])
    for model in (Net(net), net):
        plain = states(model, ids)
        with torch.no_grad():
            expected = net(ids)
        read = plain.result if model is net else plain.result[:, 0]  # type: ignore[index]
        assert torch.allclose(read, expected, rtol=0, atol=1e-14)  # type: ignore[arg-type]
        edited = states(model, ids, path="lstm", edits=[StateEdit(1, 3, 2, 5.0)])
        change = (5.0 - plain.h[1, :, 3, 2])[:, None] * net.head.weight.detach()[:, 2]  # type: ignore[index,union-attr]
        shown = edited.result if model is net else edited.result[:, 0]  # type: ignore[index]
        assert torch.allclose(shown, expected + change, rtol=0, atol=1e-12)  # type: ignore[arg-type]
    assert not any(len(m._forward_hooks) for m in net.modules())


def test_what_cannot_be_unrolled_or_edited_is_refused_by_name() -> None:
    module, both, x = (
        made("lstm", batch_first=True),
        made("gru", batch_first=True, bidirectional=True),
        drawn(2, 5, 4, dtype=torch.float64),
    )

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.RNN(4, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(self.rnn(x)[0])[0]  # type: ignore[no-any-return]

    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]), batch_first=True)
    replaced = made("rnn", batch_first=True)
    with torch.no_grad():
        other = replaced(x)
    replaced.forward = lambda *args: other
    for act, said in (
        (lambda: states(both, x, edits=[StateEdit(0, 0, 0, 1.0)]), "bidirectional GRU"),
        (lambda: states(made("gru"), x, edits=[StateEdit(0, 0, 0, 1.0, "c")]), "a GRU has no c"),
        (lambda: states(module, x, edits=[StateEdit(2, 0, 0, 1.0)]), "layers 0 to 1"),
        (lambda: states(module, x, edits=[StateEdit(0, 5, 0, 1.0)]), "steps 0 to 4"),
        (lambda: states(module, x, edits=[StateEdit(0, 0, 9, 1.0)]), "2 examples of 5 units"),
        (lambda: states(module, x, edits=[StateEdit(0, 0, 0, torch.ones(7))]), "2 examples of 5 units"),
        (lambda: states(module, x, edits=["h"]), "expected interp.recurrent.StateEdit"),  # type: ignore[list-item]
        (lambda: StateEdit(0, 0, 0, 1.0, "d"), "unknown state 'd'"),  # type: ignore[arg-type]
        (lambda: StateEdit(0, 0, 0, None), "expected a number or a tensor"),  # type: ignore[arg-type]
        (lambda: states(module.train(), x), "training mode"),
        (lambda: states(settled(Twice()), drawn(1, 3, 4)), "called several times"),
        (lambda: states(made("lstm", batch_first=True), packed), "packed sequences"),
        (lambda: states(nn.Linear(2, 2).eval(), x), "has 0 recurrent modules"),
        (lambda: states(settled(Letters()), x, path="lst"), "unknown recurrent module 'lst'. Did you mean lstm"),
        (lambda: states(5, x), "int given; expected nn.LSTM"),
        (lambda: states(replaced, x), "not that of torch"),
    ):
        with pytest.raises(InterpError, match=said):
            act()
    assert interp.recurrent.states is states
