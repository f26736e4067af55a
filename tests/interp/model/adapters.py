"""Stand-ins for layers of adapter libraries: a base layer and something low-rank beside it, and the plain layer of both."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

RANK = 3


def plain_layer(W: Tensor, bias: Tensor | None) -> nn.Linear:
    """x @ W + bias with W [in out], as a layer of torch."""
    new = nn.Linear(*W.shape, bias=bias is not None)
    with torch.no_grad():
        new.weight.copy_(W.T)
        if bias is not None:
            new.bias.copy_(bias)
    return new


class Linear(nn.Module):
    """LoRA as peft has it: no subclass of nn.Linear, parts in a dictionary, dropout before them; with `scale`, DoRA's."""

    def __init__(self, base: nn.Module, *, dropout: float = 0.0, scaled: bool = False) -> None:
        super().__init__()
        wide, narrow = weight_of(base).shape
        self.base_layer = base
        self.lora_dropout = nn.ModuleDict({"default": nn.Dropout(dropout) if dropout else nn.Identity()})
        self.lora_A = nn.ModuleDict({"default": nn.Linear(wide, RANK, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(RANK, narrow, bias=False)})
        self.lora_magnitude_vector = nn.ModuleDict({"default": Magnitude(narrow)} if scaled else {})

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight  # type: ignore[no-any-return, union-attr]

    @property
    def bias(self) -> Tensor | None:
        return self.base_layer.bias  # type: ignore[no-any-return, union-attr]

    def low_rank(self) -> Tensor:
        """[in out]"""
        return (self.lora_B["default"].weight @ self.lora_A["default"].weight).T

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base_layer(x)
        added: Tensor = self.lora_B["default"](self.lora_A["default"](self.lora_dropout["default"](x)))
        for magnitude in self.lora_magnitude_vector.values():
            added = magnitude(x, added=added, base=self.base_layer)
        return y + added

    def merged(self) -> nn.Module:
        """One plain layer that computes the same."""
        W = weight_of(self.base_layer) + self.low_rank()
        for magnitude in self.lora_magnitude_vector.values():
            W = W * magnitude.factor
        return plain_layer(W, self.bias)


class Magnitude(nn.Module):
    """DoRA's part: a factor for each output of base and low rank, called with more than one tensor."""

    def __init__(self, narrow: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.linspace(0.5, 1.5, narrow))

    def forward(self, x: Tensor, *, added: Tensor, base: Any) -> Tensor:
        W = weight_of(base)
        return self.factor * (x @ W + added) - x @ W


class Matrices(nn.Module):
    """Another library's way: the low-rank part by matrices, no modules."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        wide, narrow = weight_of(base).shape
        self.base_layer = base
        self.A, self.B = nn.Parameter(0.2 * torch.randn(wide, RANK)), nn.Parameter(0.2 * torch.randn(RANK, narrow))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.base_layer(x) + x @ self.A @ self.B
        return y

    def merged(self) -> nn.Module:
        """One plain layer that computes the same."""
        return plain_layer(weight_of(self.base_layer) + self.A @ self.B, getattr(self.base_layer, "bias", None))


class Subclass(nn.Linear):
    """A subclass of nn.Linear that adds to what its weight says, as loralib's."""

    @classmethod
    def around(cls, base: nn.Module) -> Subclass:
        wide, narrow = weight_of(base).shape
        new = cls(wide, narrow, bias=getattr(base, "bias", None) is not None)
        new.load_state_dict(base.state_dict())
        new.A, new.B = nn.Parameter(0.2 * torch.randn(wide, RANK)), nn.Parameter(0.2 * torch.randn(RANK, narrow))
        return new

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + x @ self.A @ self.B

    def merged(self) -> nn.Module:
        """One plain layer that computes the same."""
        return plain_layer(self.weight.T + self.A @ self.B, self.bias)


class Embedding(nn.Module):
    """An adapter around an embedding, without the sizes that nn.Embedding states."""

    def __init__(self, base: nn.Embedding) -> None:
        super().__init__()
        rows, width = base.weight.shape
        self.base_layer = base
        self.A, self.B = nn.Parameter(0.2 * torch.randn(rows, RANK)), nn.Parameter(0.2 * torch.randn(RANK, width))

    @property
    def weight(self) -> Tensor:
        return self.base_layer.weight

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.base_layer(ids) + self.A[ids] @ self.B
        return y

    def merged(self) -> nn.Module:
        """A plain embedding with the same rows."""
        new = nn.Embedding(*self.weight.shape)
        with torch.no_grad():
            new.weight.copy_(self.weight + self.A @ self.B)
        return new


def weight_of(layer: nn.Module) -> Tensor:
    """[in out]"""
    weight: Any = layer.weight
    return weight if isinstance(layer, Conv1D) else weight.T  # type: ignore[no-any-return]


def adapted(model: Any, make: Any, *names: str) -> Any:
    """Put adapters around all layers with these last names, in place; then the model is in evaluation mode again."""
    torch.manual_seed(3)
    for path, layer in list(model.named_modules()):
        if path.rpartition(".")[2] in names:
            model.set_submodule(path, make(layer))
    return model.eval()


def merge(model: Any) -> Any:
    """Put plain layers in the place of all adapters."""
    for path, layer in list(model.named_modules()):
        if hasattr(layer, "merged"):
            model.set_submodule(path, layer.merged())
    return model.eval()
