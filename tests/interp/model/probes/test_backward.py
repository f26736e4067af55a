"""A module that gradients do not go through, or not all of them, is refused by name where gradients are asked for; others are not."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from interp.errors import MethodError, UnsupportedRuleError
from interp.model.model import HookedModel
from interp.rules.rules import RELP
from tests.interp.model import adapters
from tests.interp.model.tiny import ids, tiny


class Around(nn.Module):
    """A layer with something done to it."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base


class Detached(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.base(x.detach())


class WithoutGrad(Around):
    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return self.base(x)


class OneBranch(Around):
    """Half of what it gives has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) / 2 + self.base(x.detach()) / 2


class Rounded(Around):
    """Weights and inputs of 8 bits, as dynamic quantisation has them: steps, flat in between."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.detach().abs().max() / 127
        return self.base((x / step).round() * step)


class Signs(Around):
    """One bit of what it reads: a small step changes nothing."""

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x.sign())


class Coarse(Around):
    """Two bits of what it reads."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.detach().abs().max()
        return self.base((x / step).round() * step)


class StraightThrough(Around):
    """The same with a gradient as if nothing was rounded, which is right on average."""

    def forward(self, x: Tensor) -> Tensor:
        step = x.detach().abs().max() / 127
        return self.base(x + ((x / step).round() * step - x).detach())


class Logged(Around):
    def forward(self, x: Tensor) -> Tensor:
        return self.base(x)


def with_(kind: type[Around], path: str, name: str = "llama", **options: Any) -> HookedModel:
    model = tiny(name, **options)
    model.set_submodule(path, kind(model.get_submodule(path)))
    return HookedModel(model.eval())


PATHS = ["model.layers.0.self_attn.q_proj", "model.layers.1.mlp.down_proj", "model.layers.1.mlp.up_proj", "model.norm"]


@pytest.mark.parametrize("kind", [Detached, WithoutGrad, OneBranch, Rounded, Signs, Coarse])
@pytest.mark.parametrize("path", PATHS)
def test_a_cut_is_named(kind: type[Around], path: str) -> None:
    model = with_(kind, path)
    with pytest.raises(MethodError, match=rf"goes through {path} \({kind.__name__}\).*exact"):
        model.check_gradients()


@pytest.mark.parametrize("kind", [Logged, StraightThrough])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_module_with_its_gradient_passes(kind: type[Around], path: str, dtype: torch.dtype) -> None:
    with_(kind, path, dtype=dtype).check_gradients()


@pytest.mark.parametrize("make", [adapters.Linear, adapters.Matrices, lambda base: adapters.Linear(base, scaled=True)])
def test_adapters_pass(make: Any) -> None:
    HookedModel(adapters.adapted(tiny("llama"), make, "q_proj", "o_proj", "down_proj", "lm_head")).check_gradients()


@pytest.mark.parametrize("path", ["self_attn", "mlp", ""])
def test_a_larger_part_of_another_class_is_tried_too(path: str) -> None:
    """Classes of somebody's own around attention, MLP or block, with a branch that is detached."""
    model = tiny("llama")
    part = model.model.layers[0].get_submodule(path)
    base = type(part)

    class Own(base):  # type: ignore[misc, valid-type]
        def forward(self, hidden_states: Tensor, **options: Any) -> Any:
            with torch.no_grad():
                return super().forward(hidden_states, **options)

    class Fine(base):  # type: ignore[misc, valid-type]
        pass

    part.__class__ = Fine
    HookedModel(model).check_gradients()
    part.__class__ = Own
    if path:
        with pytest.raises(MethodError, match=r"layers\.0.*\(Own\)"):
            HookedModel(model).check_gradients()
        return
    part.__class__ = base
    loaded = HookedModel(model)
    part.__class__ = Own  # the class is changed after loading
    with pytest.raises(MethodError, match="goes through"):
        loaded.check_gradients()


def test_between_the_blocks_and_around_all() -> None:
    model = HookedModel(tiny("llama"))

    class Own(type(model.hf)):  # type: ignore[misc]
        @torch.no_grad()
        def forward(self, *args: Any, **options: Any) -> Any:
            return super().forward(*args, **options)

    model.check_gradients()
    model.hf.__class__ = Own
    with pytest.raises(MethodError, match=r"\(Own\)|layers"):
        model.check_gradients()


@pytest.mark.parametrize("cut", [True, False])
def test_somebodys_hook(cut: bool) -> None:
    model = HookedModel(tiny("gpt2"))
    hook = (lambda m, a, y: y.detach()) if cut else (lambda m, a, y: y * 1.0)
    model.hf.transformer.h[0].mlp.c_proj.register_forward_hook(hook)
    if not cut:
        model.check_gradients()
        return
    with pytest.raises(MethodError, match=r"h\.0\.mlp\.c_proj"):
        model.check_gradients()


def test_quantised_by_torch() -> None:
    plain = tiny("llama")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantised = torch.ao.quantization.quantize_dynamic(copy.deepcopy(plain), {nn.Linear}, dtype=torch.qint8)
    model = HookedModel(quantised)
    assert model.run(ids(), reads=["z"]).logits.shape[-1] == 64  # to run and read is fine
    with pytest.raises(MethodError, match=r"q_proj \(.*Linear\).*more.*quantised"):
        model.check_gradients()
    with pytest.raises(MethodError, match="quantised"):
        model.run(ids(), rules=RELP, allow_unsupported=True)
    with torch.no_grad(), pytest.raises(UnsupportedRuleError, match="linear_dynamic"):
        model.run(ids(), rules=RELP)


def test_known_classes_are_not_run() -> None:
    model, calls = HookedModel(tiny("llama")), []
    counter = nn.modules.module.register_module_forward_pre_hook(lambda *a: calls.append(1))
    try:
        model.check_gradients()
        assert not calls
        model.run(ids())
        assert calls
    finally:
        counter.remove()


def scale_held(self: Any, x: Tensor) -> Tensor:
    """An RMSNorm whose gradient leaves out that its scale depends on what it reads."""
    return self.weight * x * torch.rsqrt(x.detach().square().mean(-1, keepdim=True) + self.variance_epsilon)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "path", ["model.layers.0.input_layernorm", "model.layers.1.post_attention_layernorm", "model.norm"]
)
def test_a_norm_that_holds_its_scale(path: str) -> None:
    """It is off along its input only, one direction of many."""
    model = tiny("llama")
    norm = model.get_submodule(path)
    norm.__class__ = type("Held", (type(norm),), {"forward": scale_held})
    with pytest.raises(MethodError, match=rf"{path} \(Held\)"):
        HookedModel(model).check_gradients()


def test_a_library_that_patches_a_known_class(monkeypatch: pytest.MonkeyPatch) -> None:
    model = HookedModel(tiny("llama"))
    model.check_gradients()
    monkeypatch.setattr(type(model.hf.model.norm), "forward", scale_held)
    with pytest.raises(MethodError, match=r"input_layernorm \(LlamaRMSNorm\)"):
        model.check_gradients()


def test_others_are_run_once() -> None:
    model = with_(Logged, PATHS[0])
    calls: list[int] = []
    model.check_gradients()
    model.hf.get_submodule(PATHS[0]).base.register_forward_hook(lambda *a: calls.append(1))
    model.check_gradients()  # a hook is new, so it is tried again
    before = len(calls)
    assert before
    model.check_gradients()
    assert len(calls) == before
