"""Levels `modules` and `channels` against patches by hand, gradients and laws."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import interp
from interp.errors import InterpError
from tests.interp.model.nets.made import Letters, Residual, cnn, drawn, settled

METHODS = ("exact", "atp", "relp", "deeplift", "atp-ig", "atp-ig-sites", "epsilon", "epsilon-plus")


def task_of(net: nn.Module, *shape: int, n: int = 3) -> interp.Task:
    x = drawn(2 * n, *shape, dtype=torch.float64)
    answers = net(x.clone()).argsort(-1)
    pairs = [interp.InputPair(x[i], x[n + i], int(answers[i, -1]), int(answers[i, 0])) for i in range(n)]
    return interp.Task("drawn", tuple(pairs))


def patched(net: nn.Module, x: Tensor, path: str, change: Any) -> Tensor:
    handle = net.get_submodule(path).register_forward_hook(lambda module, args, y: change(y))
    try:
        return net(x.clone()).detach()
    finally:
        handle.remove()


def of_pairs(task: interp.Task) -> tuple[Tensor, Tensor, list[tuple[int, int]]]:
    clean, corrupt = (torch.stack([pair.inputs[side].tensors[""] for pair in task.pairs]) for side in (0, 1))  # type: ignore[index,union-attr]
    return clean, corrupt, [(pair.answer_ids[0], pair.wrong_ids[0]) for pair in task.pairs]


def measured(logits: Tensor, sets: list[tuple[int, int]]) -> np.ndarray:
    return np.array([float(row[a] - row[w]) for row, (a, w) in zip(logits, sets, strict=True)])


@pytest.mark.parametrize("level", ("modules", "channels"))
def test_exact_scores_are_patches_by_hand(level: str) -> None:
    net = settled(Residual()).double()
    task = task_of(net, 2, 8, 8)
    clean, corrupt, sets = of_pairs(task)
    model = interp.load(net, inputs=clean)
    scores = interp.attribute(model, task, method="exact", level=level, direction="noise")
    base = measured(net(clean.clone()).detach(), sets)
    assert model.nodes.keys() == {"one", "norm", "two", "pool", "head"}  # act is called twice
    for i, part in enumerate(map(str, scores.parts)):
        path, _, channel = part.removeprefix("module:").partition(".c")
        values: dict[str, Tensor] = {}
        patched(net, corrupt, path, lambda y, v=values: v.update(y=y.clone()))  # type: ignore[misc]

        def change(y: Tensor, v: dict[str, Tensor] = values, channel: str = channel) -> Tensor:
            if not channel:
                return v["y"]
            y = y.clone()
            y[:, int(channel)] = v["y"][:, int(channel)]
            return y

        expected = measured(patched(net, clean, path, change), sets) - base
        assert np.allclose(scores.per_example[:, i], expected, rtol=1e-9, atol=1e-12)
    assert scores.provenance.engine.startswith("whole forwards")


@pytest.mark.parametrize("level", ("modules", "channels"))
def test_estimates_are_differences_times_coefficients(level: str) -> None:
    net = settled(cnn()).double()
    task = task_of(net, 1, 8, 8)
    clean, corrupt, sets = of_pairs(task)
    model = interp.load(net, inputs=clean)
    scores = interp.attribute_all(model, task, methods=list(METHODS), level=level, direction="noise")
    source = model.run(corrupt, reads=["module:4"])["module:4"]
    for method, rules in (
        ("atp", interp.GRADIENT),
        ("relp", interp.RELP),
        ("epsilon", interp.EPSILON),
        ("epsilon-plus", interp.EPSILON_PLUS),
    ):
        run = model.run(clean, reads=["module:4"], rules=rules)
        metric = sum(run.logits[i, 0, a] - run.logits[i, 0, w] for i, (a, w) in enumerate(sets))
        (rho,) = torch.autograd.grad(metric, run["module:4"])
        product = ((source - run["module:4"]) * rho).detach().flatten(2).sum(-1)
        expected = product if level == "channels" else product.sum(1, keepdim=True)
        own = [i for i, part in enumerate(map(str, scores[method].parts)) if part.startswith("module:4")]
        assert np.allclose(scores[method].per_example[:, own], expected.numpy(), rtol=1e-9, atol=1e-12)
    span = scores["exact"].provenance.source_metric - scores["exact"].provenance.base_metric  # type: ignore[operator]
    parts = [str(part) for part in scores["deeplift"].parts]
    for path in model.nodes:
        cut = [i for i, part in enumerate(parts) if part == f"module:{path}" or part.startswith(f"module:{path}.c")]
        assert scores["deeplift"].mean[cut].sum() == pytest.approx(span, abs=1e-12)
        if level == "modules":  # all of a chain goes through each module
            assert scores["exact"].mean[cut].sum() == pytest.approx(span, abs=1e-12)


def test_ablations_replace_by_means_and_zeros_of_the_modules() -> None:
    net = settled(cnn()).double()
    task = task_of(net, 1, 8, 8)
    clean, _, sets = of_pairs(task)
    model = interp.load(net, inputs=clean)
    base = measured(net(clean.clone()).detach(), sets)
    values: dict[str, Tensor] = {}
    patched(net, clean, "4", lambda y: values.update(y=y.clone()))
    for kind, value in (("mean", values["y"].mean(0, keepdim=True)), ("zero", 0 * values["y"][:1])):
        found = interp.attribute(model, task, method="exact", level="modules", ablation=kind)
        own = [str(part) for part in found.parts].index("module:4")
        expected = measured(patched(net, clean, "4", lambda y, value=value: value.expand_as(y)), sets) - base  # type: ignore[misc]
        assert np.allclose(found.per_example[:, own], expected, rtol=1e-9, atol=1e-12)
    assert (
        interp.attribute(model, task, method="exact", level="channels", ablation="resample").provenance.ablation
        == "resample"
    )


def test_scores_are_saved_and_read(tmp_path: Any) -> None:
    net = settled(cnn()).double()
    scores = interp.attribute(
        interp.load(net), task_of(net, 1, 8, 8), method="atp", level="channels", parts=["module:4.c2"]
    )
    scores.save(tmp_path / "scores.parquet")
    again = interp.Scores.load(tmp_path / "scores.parquet")
    assert [str(part) for part in again.parts] == ["module:4.c2"] and np.array_equal(again.mean, scores.mean)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"level": "heads", "method": "atp"}, "level 'heads': this net has no chain of blocks"),
        ({"level": "edges", "method": "eap"}, "no heads, edges or features"),
        ({"level": "features", "method": "atp"}, "no heads, edges or features"),
        ({"level": "modules", "method": "auto"}, "not level 'modules'; there: atp"),
        ({"level": "modules", "method": "learned"}, "not level 'modules'"),
        ({"level": "modules", "method": "relp-ah"}, "not level 'modules'"),
        ({"level": "channels", "method": "atp-star"}, "not level 'channels'"),
        ({"level": "channels", "method": "atp", "positions": "each"}, "no positions of the input"),
        ({"level": "channels", "method": "exact", "ablation": "optimal"}, "learned on text"),
        ({"level": "channel", "method": "atp"}, "Did you mean channels"),
        ({"level": "channels", "method": "atp", "parts": ["module:4.c9"]}, "unknown part of this level"),
    ],
)
def test_what_nets_do_not_have_is_refused_by_name(asked: dict[str, Any], said: str) -> None:
    net = settled(cnn()).double()
    with pytest.raises(InterpError, match=said):
        interp.attribute(interp.load(net), task_of(net, 1, 8, 8), **asked)


def test_rules_of_nets_are_refused_on_models_with_blocks() -> None:
    model = interp.load("demo")
    with pytest.raises(InterpError, match="scores modules of nets, not level 'heads'"):
        interp.attribute(model, "ioi", method="epsilon", level="heads")
    with pytest.raises(InterpError, match="linear, in a model with blocks"):
        model.run("The cat", rules=interp.EPSILON)
    with pytest.raises(InterpError, match="is of nets without blocks"):
        interp.attribute(model, "ioi", method="exact", level="modules")


def ids_task(n: int) -> interp.Task:
    clean, corrupt = torch.randint(0, 11, (2, n), generator=torch.Generator().manual_seed(n))
    return interp.Task("letters", (interp.InputPair(clean, corrupt, answers=1, wrong=2),))


@pytest.mark.filterwarnings("ignore:the model answers")
def test_channels_of_a_recurrent_layer_are_its_units_at_all_steps() -> None:
    net = settled(Letters()).double()
    model, task = interp.load(net, inputs=torch.tensor([[1, 2, 3]])), ids_task(7)  # of another length
    scores = interp.attribute_all(model, task, methods=["exact", "atp"], level="channels", direction="noise")
    clean, corrupt = (torch.as_tensor(pair) for pair in (task.pairs[0].inputs[side].tensors[""] for side in (0, 1)))  # type: ignore[index,union-attr]
    values = []
    for ids in (clean, corrupt):
        run = model.run(ids[None], reads=["module:lstm"])
        (gradient,) = torch.autograd.grad(run.logits[0, 0, 1] - run.logits[0, 0, 2], run["module:lstm"])
        values.append((run["module:lstm"].detach(), gradient))
    (h, gradient), (other, _) = values
    base = net.head(h[:, -1])[0]
    for name, score, slope in zip(
        map(str, scores["exact"].parts), scores["exact"].mean, scores["atp"].mean, strict=True
    ):
        path, _, unit = name.removeprefix("module:").partition(".c")
        if path != "lstm":
            continue
        mixed = h.clone()
        mixed[..., int(unit)] = other[..., int(unit)]
        change = (net.head(mixed[:, -1])[0] - base).detach()
        assert score == pytest.approx(float(change[1] - change[2]), abs=1e-12)
        assert slope == pytest.approx(float(((other - h) * gradient)[..., int(unit)].sum()), abs=1e-12)
    assert [str(part) for part in scores["exact"].parts][:6] == [f"module:lstm.c{i}" for i in range(5)] + [
        "module:head.c0"
    ]


@pytest.mark.filterwarnings("ignore:the model answers")
def test_channels_that_another_length_has_more_of_are_refused_by_name() -> None:
    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.letters, self.up, self.head = nn.Embedding(11, 4), nn.Linear(4, 5), nn.Linear(5, 11)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.up(self.letters(ids)).mean(1))  # type: ignore[no-any-return]

    model = interp.load(settled(Steps()).double(), inputs=torch.tensor([[1, 2, 3]]))
    for method in ("exact", "atp"):
        with pytest.raises(InterpError, match="up returns 7 entries of axis 1 for these inputs and 3 for the example"):
            interp.attribute(model, ids_task(7), method=method, level="channels")
