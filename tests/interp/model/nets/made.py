"""Small nets without blocks, with weights drawn by a seed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Recurrent layers of every kind that torch has.
RECURRENT: dict[str, Callable[..., Any]] = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "relu": lambda *args, **options: nn.RNN(*args, nonlinearity="relu", **options),
    "projected": lambda *args, **options: nn.LSTM(*args, proj_size=3, **options),
}


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def settled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The net in evaluation, with running statistics and affine parts that are not those of the beginning."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, t in (*net.named_parameters(), *net.named_buffers()):
            if t.is_floating_point():
                t.copy_(torch.randn(t.shape, generator=generator) * (0.5 if t.ndim < 2 else t[0].numel() ** -0.5))
                if name.endswith("running_var"):
                    t.abs_().add_(0.5)
    return net.eval()


class Residual(nn.Module):
    """A branch beside an identity, twice the same module, functions in place of modules."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1)
        self.norm, self.act, self.pool = nn.GroupNorm(2, 2), nn.ReLU(inplace=True), nn.AvgPool2d(2)
        self.head = nn.Linear(32, 3)

    def forward(self, pixels: Tensor) -> Tensor:
        h = self.act(self.norm(self.one(pixels)))
        h = self.act(self.two(h)) + pixels
        return self.head(self.pool(nn.functional.relu(h)).flatten(1))


class Letters(nn.Module):
    """Ids, an LSTM and what it says behind the last step."""

    def __init__(self) -> None:
        super().__init__()
        self.letters, self.head = nn.Embedding(11, 4), nn.Linear(5, 11)
        self.lstm = nn.LSTM(4, 5, num_layers=2, batch_first=True)

    def forward(self, ids: Tensor) -> Tensor:
        h, _ = self.lstm(self.letters(ids))
        return self.head(h[:, -1])  # type: ignore[no-any-return]


def cnn(*, bias: bool = True) -> nn.Module:
    """Two convolutions with a maximum behind each, one with a BatchNorm, then two dense layers."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=bias),
        *([nn.BatchNorm2d(3)] if bias else []),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 6, bias=bias),
        nn.ReLU(),
        nn.Linear(6, 3, bias=bias),
    )


def sound() -> nn.Module:
    """A convolution over samples."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 5, stride=2),
        nn.BatchNorm1d(4),
        nn.LeakyReLU(0.2),
        nn.AdaptiveAvgPool1d(3),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


#: A net, and the shape of an example that it takes.
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "cnn": (cnn, (1, 8, 8)),
    "residual": (Residual, (2, 8, 8)),
    "sound": (sound, (2, 24)),
    "dense": (lambda: nn.Sequential(nn.Linear(7, 5), nn.Tanh(), nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3)), (7,)),
}
