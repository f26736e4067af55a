"""Rules through recurrent layers: against sums written out step by step and unit by unit, autograd, and what the output changes by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import interp
from interp.errors import InterpError, UnsupportedRuleError
from interp.model.layers.unrolling import called_with, unroll
from interp.model.nets.net import Net
from interp.rules.rules import Rules
from tests.interp.model.nets.made import RECURRENT, drawn, settled

HELD = Rules(act="identity", gate=0.0)
EPS = 0.02  # large, so that what it takes shows


class Last(nn.Module):
    """What two recurrent layers, one way or both, hold behind the last step, and their last states too."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        self.rnn = RECURRENT[kind](4, 5, num_layers=options.pop("num_layers", 2), batch_first=True, **options)
        n = (3 if kind == "projected" else 5) * (1 + self.rnn.bidirectional)
        self.head = nn.Linear(n, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        output, last = self.rnn(x)
        h = last[0] if isinstance(last, tuple) else last
        return self.head(output[:, -1]) + h.sum((0, 2))[:, None]  # type: ignore[no-any-return]


class Looped(nn.Module):
    """A cell that is called at each step."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell: Any = {"lstm": nn.LSTMCell, "gru": nn.GRUCell, "rnn": nn.RNNCell}[kind](4, 5, bias=False)
        self.head = nn.Linear(5, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in range(x.shape[1]):
            state = self.cell(x[:, step], state)
        return self.head(state[0] if isinstance(state, tuple) else state)  # type: ignore[no-any-return]


def loaded(net: nn.Module) -> Net:
    return Net(settled(net).double(), inputs=given(0)[:1])


def given(seed: int = 1) -> Tensor:
    return 2 * drawn(3, 6, 4, seed=seed, dtype=torch.float64) - 1


def arrived(model: Net, x: Tensor, rules: Rules, **more: Any) -> Tensor:
    """What arrives at the input [batch step feature] of output 1; the forward pass is that without rules, bit for bit."""
    run = model.run(x, reads=["embed"], rules=rules, **more)
    assert torch.equal(run.logits, model.run(x).logits)
    (found,) = torch.autograd.grad(run.logits[:, 0, 1].sum(), run["embed"])
    return found


NETS: dict[str, Callable[[], nn.Module]] = {
    **{kind: lambda kind=kind: Last(kind, bias=False) for kind in RECURRENT},  # type: ignore[misc]
    **{f"{kind}, both ways": lambda kind=kind: Last(kind, bias=False, bidirectional=True) for kind in ("lstm", "gru")},  # type: ignore[misc]
    **{f"cell of {kind}": lambda kind=kind: Looped(kind) for kind in ("lstm", "gru", "rnn")},  # type: ignore[misc]
}


@pytest.mark.parametrize("name", NETS)
def test_what_the_steps_share_out_is_the_output_without_biases(name: str) -> None:
    model, x = loaded(NETS[name]()), given()
    run = model.run(x).logits[:, 0, 1].detach()
    for rules in (HELD, Rules(act="identity", gate=0.0, linear=dense("epsilon", epsilon=0.0))):
        assert torch.allclose((x * arrived(model, x, rules)).sum((1, 2)), run, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_deeplift_is_complete_through_the_steps_and_the_same_from_both_sides(name: str) -> None:
    model, x, other = loaded(NETS[name]()), given(1), given(2)
    toward = model.run(other, keep_operands=True), model.run(x, keep_operands=True)
    change = (model.run(x).logits - model.run(other).logits)[:, 0, 1].detach()
    m = arrived(model, x, interp.DEEPLIFT, toward=toward[0])
    back = arrived(model, other, interp.DEEPLIFT, toward=toward[1])
    assert float((((x - other) * m).sum((1, 2)) - change).abs().max()) < 1e-12 < float(change.abs().min())
    assert torch.allclose(m, back, rtol=1e-9, atol=1e-12)
    near = model.run(x + 1e-9, keep_operands=True)
    plain = arrived(model, x, interp.GRADIENT)
    assert torch.allclose(arrived(model, x, interp.DEEPLIFT, toward=near), plain, rtol=1e-6, atol=1e-7)


def dense(name: Any, **numbers: float) -> interp.LinearRule:
    return interp.LinearRule(dense=interp.LayerRule(name, **numbers))


# ---------------------------------------------------------------- a slow second writing: one example, z_ij one by one


def shares(rule: str, w: Tensor, x: Tensor, b: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of the inputs x [input] of a dense layer w [output input], b [output], of that of its outputs."""
    found = torch.zeros_like(x)
    for j in range(len(b)):
        terms = [float(x[i] * w[j, i]) for i in range(len(x))]
        z = sum(terms) + float(b[j])
        positive = sum(max(term, 0.0) for term in terms) + max(float(b[j]), 0.0)
        for i, term in enumerate(terms):
            if rule == "epsilon":
                found[i] += term / (z + (EPS if z >= 0 else -EPS)) * relevance[j]
            else:
                found[i] += max(term, 0.0) / (positive + EPS) * relevance[j]
    return found


def parts(module: Any, layer: int, n: int) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Weights and biases of each part (gate or candidate) of one layer."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    return tuple(list(getattr(module, f"{name}_l{layer}").detach().chunk(n)) for name in names)  # type: ignore[return-value]


def by_hand(module: Any, layer: int, rule: str, rows: list[Tensor], ends: list[Tensor]) -> list[Tensor]:
    """The relevance of the inputs of one layer at each step, of the relevance of its h at each step: signal-take-all."""
    lstm = isinstance(module, nn.LSTM)
    w, u, b, d = parts(module, layer, 4 if lstm else 3)
    h = c = torch.zeros(5, dtype=torch.float64)
    kept = []
    for x in rows:
        a, e = ([p @ v + q for p, q in zip(m, k, strict=True)] for m, k, v in ((w, b, x), (u, d, h)))
        if lstm:
            i, f, o = (torch.sigmoid(a[k] + e[k]) for k in (0, 1, 3))
            new = f * c + i * torch.tanh(a[2] + e[2])
            kept.append((x, h, torch.cat([w[2], u[2]], 1), b[2] + d[2], f * c, i * torch.tanh(a[2] + e[2])))
            h, c = o * torch.tanh(new), new
        else:
            r, z = (torch.sigmoid(a[k] + e[k]) for k in (0, 1))
            n = torch.tanh(a[2] + r * e[2])
            kept.append((x, h, torch.cat([w[2], r[:, None] * u[2]], 1), b[2] + r * d[2], z * h, (1 - z) * n))
            h = z * h + (1 - z) * n
    found, later, memory = [], torch.zeros_like(h), torch.zeros_like(h)
    for (x, before, weight, bias, kept_part, new_part), end in zip(reversed(kept), reversed(ends), strict=True):
        arriving = end + later + (memory if lstm else 0.0)  # of c, which alone h is made of; or of h itself
        total = kept_part + new_part
        own = shares(rule, weight, torch.cat([x, before]), bias, arriving * new_part / total)
        found.append(own[: len(x)])
        passed = arriving * kept_part / total
        later, memory = (own[len(x) :], passed) if lstm else (own[len(x) :] + passed, memory)
    return found[::-1]


@pytest.mark.parametrize("kind", ("lstm", "gru"))
@pytest.mark.parametrize("rule", ("epsilon", "alpha-beta"))
def test_steps_are_those_written_out_unit_by_unit(kind: str, rule: str) -> None:
    class Outputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = RECURRENT[kind](4, 5, num_layers=2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0][:, -1]  # type: ignore[no-any-return]

    model, x = loaded(Outputs()), given()
    rules = Rules(act="identity", gate=0.0, linear=dense(rule, epsilon=EPS))
    found = x * arrived(model, x, rules)
    module = model.hf.rnn
    hidden = unroll(module, x, called_with(module, (x,), {})[1]).h
    for example in range(len(x)):
        states = hidden[:, example].detach()
        ends = [torch.zeros(5, dtype=torch.float64) for _ in range(x.shape[1])]
        ends[-1][1] = states[1, -1, 1]
        below = by_hand(module, 1, rule, list(states[0]), ends)
        expected = torch.stack(by_hand(module, 0, rule, list(x[example]), below))
        assert torch.allclose(found[example], expected, rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("kind", ("lstm", "gru"))
def test_gates_that_are_not_held_get_their_gradient_and_half_of_a_product(kind: str) -> None:
    model, x = loaded(Last(kind, num_layers=1)), given()[:, :1]
    leaf = x.clone().requires_grad_()
    module = model.hf.rnn
    own = (module.weight_ih_l0 @ leaf[:, 0].T).T + module.bias_ih_l0
    if kind == "lstm":
        i, _, g, o = (own + module.bias_hh_l0).chunk(4, -1)
        half = i.sigmoid() * g.tanh()
        half = half.detach() + (half - half.detach()) / 2
        h = o.sigmoid() * half.tanh()
        h = h.detach() + (h - h.detach()) / 2
    else:
        (r, z, n), (u, v, w) = own.chunk(3, -1), module.bias_hh_l0.chunk(3)
        reset = (r + u).sigmoid() * w
        n = (n + reset.detach() + (reset - reset.detach()) / 2).tanh()
        h = (1 - (z + v).sigmoid()) * n
        h = h.detach() + (h - h.detach()) / 2
    (expected,) = torch.autograd.grad((model.hf.head(h)[:, 1] + h.sum(1)).sum(), leaf)
    assert torch.allclose(arrived(model, x, Rules(gate=0.5)), expected, rtol=1e-12, atol=1e-15)


def test_the_steps_without_rules_have_the_gradient_of_the_module() -> None:
    for kind in RECURRENT:
        module = settled(RECURRENT[kind](4, 5, num_layers=2, bidirectional=True)).double()
        x = given().requires_grad_()
        start = tuple(torch.randn_like(state).requires_grad_() for state in called_with(module, (x,), {})[1])
        hx = start if len(start) == 2 else start[0]
        _, ends = module(x, hx)
        own = [module(x, hx)[0], *(ends if isinstance(ends, tuple) else (ends,))]
        steps = unroll(module, x, start).tensors
        for a, b in zip(own, steps, strict=True):
            weights = torch.randn_like(a)
            expected = torch.autograd.grad((a * weights).sum(), (x, *start), retain_graph=True, allow_unused=True)
            found = torch.autograd.grad((b * weights).sum(), (x, *start), retain_graph=True, allow_unused=True)
            for one, other in zip(expected, found, strict=True):
                other = torch.zeros_like(one) if other is None else other
                assert torch.allclose(one, other, rtol=1e-10, atol=1e-13)


def test_a_first_state_that_is_made_of_the_input_gets_its_share() -> None:
    class Begun(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 5, bias=False)
            self.rnn = nn.GRU(4, 5, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            steps = x.transpose(0, 1)
            return self.rnn(steps[1:], hx=self.first(steps[0])[None])[1][0]  # type: ignore[no-any-return]

    model, x = loaded(Begun()), given()
    share = (x * arrived(model, x, HELD)).sum(2)
    assert float(share[:, 0].abs().min()) > 1e-6
    assert torch.allclose(share.sum(1), model.run(x).logits[:, 0, 1].detach(), rtol=1e-12)


def test_what_has_no_rule_is_said_and_what_is_covered_too() -> None:
    model, x = loaded(Last("lstm")), given()
    for rules, said in (
        (interp.RELP, r"rnn \(LSTM: f\(x\) / x of its gates, sigmoids, has a pole at 0; gate=0.0 holds them"),
        (Rules(linear=dense("epsilon")), r"rnn \(LSTM: no rule of linear layers goes on through its gates"),
    ):
        with pytest.raises(UnsupportedRuleError, match=said):
            model.run(x, rules=rules)
        assert torch.equal(model.run(x, rules=rules, allow_unsupported=True).logits, model.run(x).logits)
    rows = {row.path: row for row in model.coverage(interp.EPSILON).rows}
    assert rows["rnn"].treatment == "rule" and rows["rnn"].rule == "gates held, f(x)/x, dense epsilon (epsilon 1e-06)"
    assert not model.coverage(interp.DEEPLIFT).unsupported
    assert {row.treatment for row in model.coverage(interp.GRADIENT).rows} == {"plain gradient"}
    assert not loaded(Last("rnn")).coverage(interp.RELP).unsupported  # it has no gates


def test_what_cannot_be_unrolled_is_refused_and_not_passed_over() -> None:
    class Own(nn.LSTM):
        def forward(self, x: Tensor) -> Any:  # type: ignore[override]
            output, last = super().forward(x)
            return output * 2, last

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 5, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            own = pack_padded_sequence(x, torch.full((len(x),), x.shape[1]), True) if len(x) > 1 else x
            return self.rnn(own)[1][0][0]  # type: ignore[no-any-return]

    x = given()
    with pytest.raises(UnsupportedRuleError, match=r"0.rnn \(Own\)"):
        net = nn.Sequential(Last("lstm"))
        net[0].rnn = Own(4, 5, batch_first=True)
        Net(settled(net).double(), inputs=x[:1]).run(x, rules=interp.EPSILON)
    with pytest.raises(InterpError, match="packed sequences have no steps of one batch"):
        loaded(Packed()).run(x, rules=interp.EPSILON)
    model = loaded(Last("gru"))
    model.hf.rnn.register_forward_hook(lambda m, a, y: (y[0] + 1, y[1]))
    with pytest.raises(InterpError, match="rnn: this GRU gives something else than its weights, step by step, do"):
        model.run(x, rules=interp.EPSILON)
