"""The levels of nets without blocks: `modules` and `channels`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn

import torch
from torch import Tensor

from interp.attribution.batching.batches import EMBED, Batch
from interp.attribution.net_levels.net_nodes import groups_of_net
from interp.attribution.protocol.spaces import NodeSpace
from interp.errors import MethodError
from interp.model.modules.lock import settled
from interp.parts.named_inputs import Inputs
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide
from interp.tasks.ablations import ABLATIONS
from interp.tasks.pairs.token_pairs import TokenPair
from interp.tasks.replacements import Ablation, kind_of, make_ablation


@dataclass
class NetBatch(Batch):
    """A batch whose nodes have no positions of their own: a score is of all of them."""

    def contracted(
        self, group: Group, coefficient: Mapping[Site, Tensor], positions: Tensor, base: Mapping[Site, Tensor]
    ) -> Tensor:
        """(source - base) . coefficient within each node [batch label unit], of the one label that there is."""
        return group.contract(self.source()[group.site] - base[group.site], coefficient[group.site])


@dataclass(frozen=True)
class NetSpace(NodeSpace):
    """What the modules of a net return, whole or by channels."""

    @classmethod
    def of(cls, model: Any, level: str) -> NetSpace:
        """The nodes of a level of a `Net`."""
        positions = model.n_positions(Inputs(model.probed, next(iter(model.probed))))
        return cls(groups_of_net(model.nodes, level == "channels", positions, model.operations.recurrent))

    def ablation(self, kind: Any, model: Any, pairs: Sequence[TokenPair], seed: int, batch_size: int) -> Ablation:
        """What the nodes are replaced by: of means those over the examples, at each place apart."""
        if ABLATIONS[kind_of(kind)].learn is not None:
            raise MethodError(
                f"{kind_of(kind)} ablation is learned on text; of nets without blocks use mean, zero, resample or counterfactual."
            )
        sites = [group.site for group in self.groups]
        with settled(model.device):
            found = make_ablation(kind, model, pairs, sites, seed, batch_size, partial(self._sums, model), _each)
        return replace(found, means={key: value if key == EMBED else value[0] for key, value in found.means.items()})

    def _sums(self, model: Any, given: Inputs) -> Mapping[Any, Tensor]:
        """The sums over the examples, in the form that means over positions are made of: each as often as an input has positions."""
        with torch.no_grad():
            reads = model.run(given, reads=[EMBED, *(group.site for group in self.groups)]).reads
        n = model.n_positions(given)
        return {site: x if site == EMBED else n * wide(x).sum(0)[None, None] for site, x in reads.items()}

    def batch(self, *of: Any) -> NetBatch:
        """A batch: model, pairs, index, metric, direction, ablation."""
        model, *rest = of
        return NetBatch.of(model, self.groups, *rest)


def _each(given: Any) -> NoReturn:
    """Raises: MethodError for an ablation that asks for the values of each position."""
    raise MethodError(
        "what modules of nets return has no positions; of the ablations mean, zero, resample and counterfactual are there."
    )
