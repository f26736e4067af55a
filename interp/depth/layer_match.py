"""Which layer of one model holds what a layer of another one holds: how well a linear map takes one stream to the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interp.depth.material import Material
from interp.depth.removal import run_without
from interp.errors import MethodError, TaskError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.precision import wide
from interp.whole_numbers import count

Map = Literal["linear"]
MAPS: Final = ("linear",)
#: How much of the mean variance of a stream is added to its covariance.
RIDGE: Final = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class LayerMatch(Table):
    """How much of the variance of each layer of model b a linear map of each layer of model a explains.

    explained: R2 [layer of a, layer of b], the streams behind the layers, on tokens of texts that the maps were not fitted on; 1 is all, and it is below 0 where
    the mean of the fitted tokens does better. n: tokens fitted on, and tokens judged on.
    """

    explained: np.ndarray = field(metadata=along(0, 1))
    a: str
    b: str
    n: tuple[int, int]

    def __post_init__(self) -> None:
        check_sizes(self, explained=((self.explained.ndim,), (2,)))

    @property
    def best(self) -> tuple[int, ...]:
        """For each layer of b the layer of a that explains most of it."""
        return tuple(int(i) for i in self.explained.argmax(0))

    def to_pandas(self) -> Any:
        """A row per pair of layers: a, b, r2."""
        rows, columns = self.explained.shape
        found = {"a": np.repeat(np.arange(rows), columns), "b": np.tile(np.arange(columns), rows)}
        return rows_of({**found, "r2": self.explained.reshape(-1)})

    def __str__(self) -> str:
        shown = ", ".join(f"{layer}: {i} ({self.explained[i, layer]:.2f})" for layer, i in enumerate(self.best))
        return printed(
            f"LayerMatch({visible(self.a, 60)} to {visible(self.b, 60)}, {self.n[1]:,} tokens)\n  layer of b: best layer of a (R2): {shown}"
        )


@kinds_checked
def match_layers(
    a: Any,
    b: Any,
    text: Any,
    *,
    map: Map = "linear",
    tokens: int = 4096,
    keep_bos: bool = False,
    batch_size: int | None = None,
    seed: int = 0,
) -> LayerMatch:
    """How well each layer of `a` gives each layer of `b` by a linear map, fitted by ridge regression on half of the texts and judged on the other.

    a, b: models with the same tokens (the same ids for every text); text: two or more texts or inputs. tokens: at most so many are drawn of each half.
    R2 = 1 - sum |y - W x - c|^2 / sum |y - mean y|^2, with the mean of the tokens judged.
    Cost: one forward of each model; for each layer of `a` one system of d_model equations for all layers of `b`. Memory: the streams of the tokens drawn.
    Source: the maps between depths of Csordas et al. 2025. Raises: TaskError for one text, or models that read other tokens; MethodError.
    """
    if map not in MAPS:
        raise MethodError(unknown("map", map, MAPS))
    most = count(tokens, "tokens", least=8)
    own, other = (Material.of(m, text, keep_bos=keep_bos, batch_size=batch_size, what="match_layers") for m in (a, b))
    if own.prompts != other.prompts:
        raise TaskError(
            "match_layers: the two models read other tokens of these texts; expected models with one tokeniser, or give ids."
        )
    if len(own) < 2:
        raise TaskError(
            "match_layers: one text; give two or more: maps are fitted on one half and judged on the other."
        )
    order = np.random.default_rng(seed).permutation(len(own))
    halves = [sorted(order[: len(order) // 2].tolist()), sorted(order[len(order) // 2 :].tolist())]
    (x, y), (x_held, y_held) = (tuple(_streams(m.at(half), most, seed) for m in (own, other)) for half in halves)
    return LayerMatch(_explained(x, y, x_held, y_held), a.name, b.name, (x.shape[1], x_held.shape[1]))


def _streams(material: Material, most: int, seed: int) -> Tensor:
    """The streams behind all layers at tokens that are drawn, the same of every model [layer token d_model], float64 on the CPU."""
    model, layers = material.model, range(material.model.layout.n_layers)
    each: dict[int, Tensor] = {}
    with settled(model.device), torch.no_grad():
        for prompts in material:
            sites = [Site("resid_post", layer) for layer in layers]
            run = run_without(model, prompts, (), reads=sites, keep=1)
            values = torch.stack([wide(run[site])[:, prompts.first :].cpu() for site in sites])
            each |= {place: values[:, i] for i, place in enumerate(prompts.places)}
    found = torch.cat([each[place] for place in sorted(each)], dim=1)
    drawn = np.random.default_rng(seed).permutation(found.shape[1])[:most]
    return found[:, torch.from_numpy(np.sort(drawn))].double()


def _explained(x: Tensor, y: Tensor, x_held: Tensor, y_held: Tensor) -> np.ndarray:
    """R2 on the held tokens [layer of a, layer of b]."""
    n_b, d = len(y), y.shape[-1]
    target, centre = y.transpose(0, 1).flatten(1), y.mean(1)
    spread = (y_held - y_held.mean(1, keepdim=True)).square().sum((1, 2)).clamp_min(1e-300)
    rows = []
    for own, held in zip(x, x_held, strict=True):
        middle = own.mean(0)
        z = own - middle
        gram = z.T @ z
        gram += RIDGE * gram.diagonal().mean().clamp_min(1e-300) * torch.eye(len(gram), dtype=gram.dtype)
        W = torch.linalg.solve(gram, z.T @ (target - target.mean(0)))
        guess = ((held - middle) @ W).view(len(held), n_b, d).transpose(0, 1) + centre[:, None]
        rows.append(1 - (y_held - guess).square().sum((1, 2)) / spread)
    return torch.stack(rows).numpy()
