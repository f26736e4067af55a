"""Chains of layers, skipped and repeated, that answer better: chosen on one half of the prompts, judged on the other, beside noise.

Whoever may choose the best of n chains for each answer, knowing the answer, is right more often whatever the chains are. So the share that some
chain gets right stands beside the share that some of as many perturbations get right, noise as far from the full model as each chain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import Tensor

from interp.depth.material import Material, Prompts
from interp.depth.outcomes import Outcome, Sums, log_probabilities, outcome
from interp.depth.perturbed import Noise
from interp.depth.removal import run_without, stream_sites, streams_of
from interp.errors import MethodError, TaskError, unknown
from interp.formatting.table import Table, along, check_sizes, rows_of
from interp.formatting.text import printed, visible
from interp.given import kinds_checked
from interp.model.chains.chains import Move, moved, repeat, skip
from interp.model.edits import patch
from interp.model.modules.lock import settled
from interp.parts.sites import Site
from interp.tasks.task import Task
from interp.whole_numbers import count, whole

Kind = Literal["skip", "repeat"]
MOVES: Final = {"skip": skip, "repeat": repeat}
_COLUMNS: Final = ("cross_entropy", "kl", "accuracy", "judged_cross_entropy", "judged_kl", "judged_accuracy")


@dataclass(frozen=True, eq=False, repr=False)
class Chains(Table):
    """All chains that were run, the full model first.

    chains: the layers that each calls; values: [chain, column], cross-entropy and KL from the full model in nats and the share that is right, on the
    prompts it was chosen on and on those it is judged on. chosen: the place of the chain of the lowest cross-entropy on the first. interval: of its
    cross-entropy less that of the full model, 95 %, on the prompts it is judged on. any_right: the share of the answers judged that some chain gets
    right; null_right: that some of as many perturbations of equal KL get right; null_kl: the mean KL of these. held_out: whether the prompts judged are
    others than those it was chosen on.
    """

    chains: tuple[tuple[int, ...], ...]
    values: np.ndarray = field(metadata=along(0))
    chosen: int
    interval: tuple[float, float]
    any_right: float
    null_right: float
    null_kl: float
    held_out: bool
    n: tuple[int, int]
    model: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        check_sizes(self, values=(self.values.shape, (len(self.chains), len(_COLUMNS))))

    @property
    def best(self) -> tuple[int, ...]:
        """The chosen chain, as `model.run` takes it (`layers=`)."""
        return self.chains[self.chosen]

    def column(self, name: str) -> np.ndarray:
        """One column of every chain [chain]. Raises: MethodError with the near names."""
        if name not in _COLUMNS:
            raise MethodError(unknown("column", name, _COLUMNS))
        return np.asarray(self.values[:, _COLUMNS.index(name)])

    def to_pandas(self) -> Any:
        """A row per chain: chain, blocks (how many are called), chosen, and the columns of `values`."""
        return rows_of(
            {
                "chain": [" ".join(map(str, chain)) for chain in self.chains],
                "blocks": [len(chain) for chain in self.chains],
                "chosen": [i == self.chosen for i in range(len(self.chains))],
                **{name: self.values[:, i] for i, name in enumerate(_COLUMNS)},
            }
        )

    def __str__(self) -> str:
        own, full = self.values[self.chosen], self.values[0]
        where = f"{self.n[1]} held-out prompts" if self.held_out else "the prompts it was chosen on"
        return printed(
            f"Chains({len(self.chains)} chains, {visible(self.model, 80)})\n"
            f"  chosen on {self.n[0]} prompts: {' '.join(map(str, self.best))}\n"
            f"  judged on {where}: cross-entropy {own[3]:.3f}, full model {full[3]:.3f}, difference [{self.interval[0]:.3f}, {self.interval[1]:.3f}]; "
            f"right {own[5]:.1%}, full model {full[5]:.1%}\n"
            f"  some of {len(self.chains)} chains right, knowing the answer: {self.any_right:.1%}; some of as many perturbations by noise of equal KL: "
            f"{self.null_right:.1%}"
        )


@kinds_checked
def chain_search(
    model: Any,
    task: Any,
    *,
    moves: Sequence[Kind] = ("skip", "repeat"),
    budget: int | None = None,
    holdout: bool = True,
    batch_size: int | None = None,
    seed: int = 0,
) -> Chains:
    """Look for a chain of layers that does better than the model: every move alone, then moves on the best so far, up to `budget` chains.

    task: a task, or texts, whose next tokens are the answers. moves: `skip` leaves a layer out, `repeat` calls it once more. budget: how many chains are
    run besides the full model; by default each move alone. holdout: choose on one half of the prompts and judge on the other.
    Cost: for each chain one forward over all prompts, from its first changed layer on; the noise about 2 forwards and one block and unembedding for each
    chain and for twelve sizes of noise. Source: the idea of chains by search is Li et al. 2025, "Skip a layer or loop it?", who choose for each prompt.

    Raises: MethodError for a budget below the number of moves; TaskError for fewer than two prompts to split.
    """
    names = _kinds(moves)
    material = Material.of(model, task, keep_bos=True, batch_size=batch_size, what="chain_search")
    options = [MOVES[name](layer) for name in names for layer in range(model.layout.n_layers)]
    most = len(options) if budget is None else count(budget, "budget")
    material.check_predicts("chain_search")
    if most < len(options):
        raise MethodError(
            f"budget={most}: {len(options)} moves ({', '.join(names)} of each layer) must each be tried alone; give {len(options)} or more."
        )
    first, second = _halves(task, material, holdout, seed)
    with settled(model.device), torch.no_grad():
        found = _Search(first, options, most).run()
        judged, full, any_right = _judged(second, list(found))
        noise = Noise.of(second, seed)
        null_right, null_kl = noise.best_of([sums.mean[1] for sums in judged[1:]])
    columns = [np.concatenate([own.mean, other.mean]) for own, other in zip(found.values(), judged, strict=True)]
    chosen = int(np.argmin([row[0] for row in columns]))
    return Chains(
        tuple(found),
        np.array(columns),
        chosen,
        _difference(judged[chosen], full, seed),
        any_right,
        null_right,
        null_kl,
        holdout,
        (len(first), len(second)),
        model.name,
        material.name,
    )


def _kinds(moves: Sequence[str]) -> tuple[str, ...]:
    names = (moves,) if isinstance(moves, str) else tuple(dict.fromkeys(moves))
    if not names:
        raise MethodError(f"moves: none given; expected one or both of {', '.join(MOVES)}.")
    if odd := [name for name in names if name not in MOVES]:
        raise MethodError(unknown("move", odd[0], MOVES))
    return names


def _halves(task: Any, material: Material, holdout: bool, seed: int) -> tuple[Material, Material]:
    """The prompts to choose on, and those to judge on. Raises: TaskError for fewer than two."""
    if not holdout:
        return material, material
    if isinstance(task, Task):
        own, other = task.split_places(seed, tokens=list(material.pairs))
        return material.at(own), material.at(other)
    if len(material) < 2:
        raise TaskError(
            "chain_search: one text; give two or more, to choose on one half and judge on the other, or holdout=False."
        )
    order = np.random.default_rng(whole(seed, "seed")).permutation(len(material))
    half = (len(order) + 1) // 2
    return material.at(sorted(map(int, order[:half]))), material.at(sorted(map(int, order[half:])))


@dataclass(eq=False)
class _Search:
    """Best first: each move alone, then each move on top of the best chain that was not gone on from."""

    material: Material
    moves: Sequence[Move]
    budget: int

    def run(self) -> dict[tuple[int, ...], Sums]:
        """What each chain gives, in the order in which they were run, the full model first."""
        n = self.material.model.layout.n_layers
        start = tuple(range(n))
        found = {start: self._ran([start])[start]}
        ways: dict[tuple[int, ...], tuple[Move, ...]] = {start: ()}
        open_ = [start]
        while open_ and len(found) <= self.budget:
            best = min(open_, key=lambda chain: (found[chain].mean[0], len(chain)))
            open_.remove(best)
            new = {chain: way for chain, way in self._next(n, ways[best]).items() if chain not in found}
            chosen = list(new)[: self.budget + 1 - len(found)]
            found |= self._ran(chosen)
            ways |= {chain: new[chain] for chain in chosen}
            open_ += chosen
        return found

    def _next(self, n: int, way: tuple[Move, ...]) -> dict[tuple[int, ...], tuple[Move, ...]]:
        """The chains one move further; a layer that was moved is not moved the other way."""
        fit = [m for m in self.moves if not any(m.layer == old.layer and "skip" in (m.kind, old.kind) for old in way)]
        return {moved(n, (*way, m)): (*way, m) for m in fit if sum(old.kind == "skip" for old in (*way, m)) < n}

    def _ran(self, chains: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], Sums]:
        sums, _, _ = _judged(self.material, chains)
        return dict(zip(chains, sums, strict=True))


def _judged(material: Material, chains: Sequence[tuple[int, ...]]) -> tuple[list[Sums], Sums, float]:
    """What each chain gives, what the full model gives, and the share of answers that some chain gets right."""
    n = material.model.layout.n_layers
    sums, whole_model, right, total = [Sums(len(material)) for _ in chains], Sums(len(material)), 0, 0
    for prompts in material:
        base = run_without(material.model, prompts, (), reads=stream_sites(range(n)))
        streams, full = streams_of(base.reads, range(n), n), log_probabilities(prompts, base.logits)
        whole_model.add(prompts.places, outcome(prompts, full))
        some = torch.zeros(full.shape[:-1], dtype=torch.bool, device=full.device)
        for own, chain in zip(sums, chains, strict=True):
            found = (
                full
                if chain == tuple(range(n))
                else log_probabilities(prompts, chained(material.model, prompts, chain, streams))
            )
            said: Outcome = outcome(prompts, found, full)
            own.add(prompts.places, said)
            some |= said.right
        right, total = right + int(some.sum()), total + some.numel()
    return sums, whole_model, right / total


def chained(model: Any, prompts: Prompts, chain: Sequence[int], streams: dict[int, Tensor]) -> Tensor:
    """The logits of a chain, from where it leaves the usual one on, where that is at a layer that it calls once more."""
    same = next((i for i, layer in enumerate(chain) if layer != i), len(chain))
    rest = tuple(chain[same:])
    if not rest:
        return run_without(
            model, prompts, (), streams={model.layout.n_layers: streams[same]}, start=model.layout.n_layers
        ).logits
    if rest.count(rest[0]) > 1:
        return model.run(prompts.run, logits_to_keep=prompts.keep, layers=tuple(chain)).logits  # type: ignore[no-any-return]
    begun = [patch(Site("resid_pre", rest[0]), streams[same])]
    return model.run(prompts.run, edits=begun, logits_to_keep=prompts.keep, layers=rest).logits  # type: ignore[no-any-return]


def _difference(own: Sums, full: Sums, seed: int) -> tuple[float, float]:
    """The 95 % interval of the cross-entropy of a chain less that of the full model, over prompts."""
    gap = Sums(own.n_prompts)
    gap.sums, gap.n = own.sums - full.sums, own.n
    return gap.interval(seed)
