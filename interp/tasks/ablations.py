"""What a node is replaced by: one object, shared by scoring and evaluation.

A kind is an entry of `ABLATIONS`: a run on the paired prompt or on another one, or fixed values by site. A new one is one
function and one line of registration.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Final

import torch
from torch import Tensor

from interp.errors import MethodError, TaskError, unknown
from interp.learning.optimal import FORWARDS, Learned, Replacing, Sides, learn
from interp.parts.named_inputs import Inputs
from interp.parts.sites import Site
from interp.precision import wide
from interp.registries import About, Registry
from interp.tasks.lengths import by_length
from interp.tasks.metrics import Direction
from interp.tasks.pairs.token_pairs import TokenPair, run_of
from interp.tasks.targets import positions_read
from interp.whole_numbers import whole

See = Callable[[Any], Mapping[Any, Tensor]]
Partners = Callable[[Sequence[int], int], Sequence[int]]


@dataclass(frozen=True)
class Prompts:
    """The clean prompts of a data set, as an ablation with fixed values looks at them.

    `see`: token ids [batch pos] -> values by key [batch pos ...], or their sums over both axes [1 1 ...]; `every`: the values
    of each token, whatever that costs. The keys are sites, or parts of sites at level `features`. `replacing`: how the model is run with
    parts at constants, None where it cannot be; `seed`: of what is drawn.
    """

    pairs: Sequence[TokenPair]
    batch_size: int
    see: See
    every: See
    replacing: Replacing | None = None
    seed: int = 0

    def means(self) -> dict[Any, Tensor]:
        """Mean over all positions of all prompts, by key: [1 1 ...], in float32 or better."""
        totals: dict[Any, Tensor] = {}
        counts: dict[Any, int] = defaultdict(int)
        for index, ids in zip(self._index(), self._batches(), strict=True):
            tokens = sum(self.pairs[i].length for i in index)
            for key, value in self.see(ids).items():
                summed = value.shape[:2] == (1, 1)  # and streams of other stacks have positions of their own
                counts[key] += tokens if summed else value.shape[0] * value.shape[1]
                totals[key] = totals.get(key, 0) + wide(value).sum((0, 1), keepdim=True)
        return {key: total / counts[key] for key, total in totals.items()}

    def tokens(self) -> dict[Any, Tensor]:
        """The values at all positions of all prompts, by key: [token ...], in float32 or better. All are held at once."""
        found: dict[Any, list[Tensor]] = defaultdict(list)
        for ids in self._batches():
            for key, value in self.every(ids).items():
                found[key].append(wide(value).flatten(0, 1))
        return {key: torch.cat(values) for key, values in found.items()}

    def sides(self) -> list[Sides]:
        """The prompts of both sides, in batches of one length."""
        found = []
        for index, clean in zip(self._index(), self._batches(), strict=True):
            some = [self.pairs[i] for i in index]
            corrupt = run_of([pair.corrupt for pair in some])
            if isinstance(clean, Inputs) or isinstance(corrupt, Inputs):
                raise MethodError(
                    "optimal ablation is learned on single texts; of two texts, images and sound use mean, zero or resample."
                )
            found.append(Sides(index, torch.stack([clean, corrupt]), positions_read(some)))
        return found

    def _batches(self) -> list[Tensor | Inputs]:
        """Token ids [batch pos] of clean prompts of one length, or their inputs that are no text."""
        return [run_of([self.pairs[i].clean for i in index]) for index in self._index()]

    def _index(self) -> list[list[int]]:
        return list(by_length([pair.shape for pair in self.pairs], self.batch_size))


Values = Callable[[Prompts], Mapping[Any, Tensor]]
Learning = Callable[[Prompts], tuple[Mapping[Any, Tensor], Learned]]


@dataclass(frozen=True)
class Kind:
    """What nodes are replaced by; `sentence` goes on after "a node is replaced by".

    One of these, or zero where none is given. `paired`: its value in the run on the paired prompt. `partners`: its value in
    the run on another clean prompt of the same length, (lengths, seed) -> which one for each. `values`: fixed ones,
    prompts -> tensor by key, with batch and position of size 1. `learn`: fixed ones too, that are fit to the prompts, and how: those
    of the pairs that were scored, which go with a circuit to others. `forwards`: what fixed ones take at most, in forwards of the prompts.
    """

    name: str
    sentence: str
    paired: bool = False
    partners: Partners | None = None
    values: Values | None = None
    cost: str = ""
    source: str = ""
    learn: Learning | None = None
    forwards: int = 1

    def __post_init__(self) -> None:
        given = [name for name in ("paired", "partners", "values", "learn") if getattr(self, name)]
        if len(given) > 1:
            raise MethodError(
                f"ablation {self.name!r} has {' and '.join(given)}; expected one of them, or none for zero."
            )

    @property
    def about(self) -> About:
        return About(self.sentence, "", self.cost, self.source)

    @property
    def has_run(self) -> bool:
        """Whether the values come from a run on other prompts."""
        return self.paired or self.partners is not None

    @property
    def is_zero(self) -> bool:
        return not self.has_run and not self.is_fixed

    @property
    def is_fixed(self) -> bool:
        """Whether the values are the same for all prompts, and not zero."""
        return self.values is not None or self.learn is not None

    @property
    def directions(self) -> tuple[Direction, ...]:
        """Those that it pairs with, the default first: only the paired run has clean values to denoise with."""
        return ("denoise", "noise") if self.paired else ("noise",)


#: Instead of the name of another ablation: none.
NONE: Final = "none"
ABLATIONS: Final[Registry[Kind]] = Registry("ablation", "interp.ablations", MethodError)


def ablation(name: str, *, sentence: str, cost: str, source: str = "") -> Callable[[Values], Values]:
    """Register a function from `Prompts` to fixed values as the ablation `name`."""

    def register(values: Values) -> Values:
        ABLATIONS.add(Kind(name, sentence, values=values, cost=cost, source=source))
        return values

    return register


@dataclass(frozen=True)
class Ablation:
    """A kind, with what it needs: the `partners` of its pairs (index -> index) or its fixed values by key (`means`).

    `learned`: how they were learned, of a kind that learns. Such an ablation is given in place of a name where other pairs than those that
    it was learned on are judged: to `circuits.evaluate` and its like.
    """

    kind: str
    partners: Sequence[int] = ()
    means: Mapping[Any, Tensor] = field(default_factory=dict)
    learned: Learned | None = None

    @property
    def has_run(self) -> bool:
        """Whether the values come from a run on other prompts."""
        known = ABLATIONS.get(self.kind)
        return known is not None and known.has_run

    def fixed(self, key: Any) -> Tensor | None:
        """The value at `key` of a kind without a run, None where that is zero. Raises: MethodError where it has none."""
        known = ABLATIONS.get(self.kind)
        if known is not None and known.is_zero:
            return None
        if key not in self.means:
            raise MethodError(f"{self.kind} ablation has no value at {key}; its function must give one for every key.")
        return self.means[key]

    def value(self, site: Any, like: Tensor) -> Tensor:
        """The replacement at `site`, in the shape of `like`, for the kinds without a run."""
        fixed = self.fixed(site)
        return torch.zeros_like(like) if fixed is None else fixed.to(like).expand_as(like)


def kind_of(ablation: str | Ablation) -> str:
    """The name of an ablation that is given by it, or as it was made."""
    return ablation.kind if isinstance(ablation, Ablation) else ablation


def check_direction(kind: str, direction: str | None) -> Direction:
    """The direction to use: denoise by default for counterfactual, else noise.

    Raises: MethodError for an unknown kind or direction, or where denoising has no meaning.
    """
    able = ABLATIONS[kind].directions
    if direction is None:
        return able[0]
    if direction not in ("denoise", "noise"):
        raise MethodError(unknown("direction", direction, ("denoise", "noise")))
    if direction not in able:
        raise MethodError(
            f"direction 'denoise' puts clean values into a corrupt run; {kind} ablation has no such values. Use 'noise'."
        )
    return direction  # type: ignore[return-value]


def ablations_beside(kind: str, asked: str | None = None) -> tuple[str, ...]:
    """The ablations that what was found under `kind` may be judged under too, in the order in which they are tried.

    As asked, none of them for `none`. By default `mean`, which keeps a model near what it knows; then `zero`, as the mean over
    prompts with one answer holds the answer, and its empty model then does as well as the whole one. What was found under one of these is judged under `counterfactual` first, which every
    pair has. Raises: MethodError for an unknown kind, or the same.
    """
    if asked == NONE:
        return ()
    if asked is None:
        others = tuple(name for name in ("mean", "zero") if name != kind)
        return others if len(others) == 2 else ("counterfactual", *others)
    if asked not in ABLATIONS:
        raise MethodError(unknown("other ablation", asked, (*ABLATIONS, NONE)))
    if asked == kind:
        raise MethodError(f"other ablation {asked!r} is the one that is used already; expected another, or {NONE!r}.")
    if ABLATIONS[asked].learn is not None:
        raise MethodError(
            f"other ablation {asked!r} is learned on the pairs that were scored, and these are held out; judge by it alone: "
            f"circuits evaluate --ablation {asked}."
        )
    return (asked,)


def make_ablation(
    kind: str | Ablation,
    model: Any,
    pairs: Sequence[TokenPair],
    sites: Sequence[Site],
    seed: int,
    batch_size: int,
    see: See | None = None,
    every: See | None = None,
    replacing: Replacing | None = None,
) -> Ablation:
    """The ablation for a data set: partners drawn, or values taken over the clean prompts.

    The value of the embedding is always taken: integrated gradients go from the base's embedding to the source's. `see`: the
    values of token ids [batch pos], by key, or their sums over both axes [1 1 ...], where they are not those of `sites` as the
    model has them; `every`: the values where `see` gives sums. `kind`: a name, or one that was learned on other pairs, which stays.
    """
    if isinstance(kind, Ablation):
        if kind.learned is not None:
            return kind
        kind = kind.kind
    chosen = ABLATIONS[kind]
    if chosen.partners is not None:
        return Ablation(kind, _checked(chosen, _lengths(kind, pairs), seed))
    if chosen.is_fixed:
        seen = see or _reader(model, sites)
        prompts = Prompts(pairs, batch_size, seen, every or seen, replacing, whole(seed, "seed"))
        found, learned = (
            chosen.learn(prompts) if chosen.learn else (chosen.values(prompts), None) if chosen.values else ({}, None)
        )
        return Ablation(kind, means=_checked_values(chosen, found), learned=learned)
    return Ablation(kind)


def _lengths(kind: str, pairs: Sequence[TokenPair]) -> list[int]:
    """The lengths of pairs, which say who may stand for whom. Raises: MethodError where inputs of one length are of several sizes."""
    if len({pair.shape for pair in pairs}) > len(found := {pair.length for pair in pairs}):
        raise MethodError(
            f"{kind} ablation: inputs of other sizes with as many positions ({', '.join(map(str, sorted(found)))}); expected inputs of one size, "
            "of which another may stand for each. Use counterfactual, mean or zero."
        )
    return [pair.length for pair in pairs]


def _checked_values(kind: Kind, found: Any) -> Mapping[Any, Tensor]:
    """The fixed values. Raises: MethodError where they are no tensors with batch and position of size 1."""
    if not isinstance(found, Mapping):
        raise MethodError(f"{kind.name} ablation gave a {type(found).__name__}; expected tensors by key.")
    for key, value in found.items():
        if not isinstance(value, Tensor) or value.shape[:2] != (1, 1):
            given = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise MethodError(f"{kind.name} ablation gave {given} at {key}; expected a tensor [1 1 ...].")
    return found


def _checked(kind: Kind, lengths: Sequence[int], seed: int) -> list[int]:
    """The partners of all pairs. Raises: MethodError for a partner that is not there or has another length."""
    found = list(kind.partners(lengths, seed)) if kind.partners else []
    if len(found) != len(lengths):
        raise MethodError(f"{kind.name} ablation gave {len(found)} partners; expected one for each of {len(lengths)}.")
    for here, there in enumerate(found):
        if not isinstance(there, Integral) or not 0 <= there < len(lengths) or lengths[here] != lengths[there]:
            raise MethodError(
                f"{kind.name} ablation gave pair {here} partner {there}; expected one of the same length."
            )
    return [int(there) for there in found]


def _reader(model: Any, sites: Sequence[Site]) -> See:
    def see(ids: Tensor | Inputs) -> Mapping[Any, Tensor]:
        with torch.no_grad():
            reads = [Site("embed", stack=stack.name) for stack in model.layout.stacks]
            return model.run(ids, reads=[*reads, *sites], logits_to_keep=1).reads  # type: ignore[no-any-return]

    return see


def _derange(lengths: Sequence[int], seed: int) -> list[int]:
    """For every pair another pair of the same length: a seeded random cycle within each length."""
    buckets: dict[int, list[int]] = defaultdict(list)
    for i, length in enumerate(lengths):
        buckets[length].append(i)
    if alone := [length for length, members in buckets.items() if len(members) == 1]:
        raise TaskError(
            f"resample ablation needs two prompts of every length; only one has {alone[0]} tokens. Use another ablation."
        )
    rng, partners = random.Random(whole(seed, "seed")), [0] * len(lengths)
    for members in buckets.values():
        rng.shuffle(members)
        for here, there in zip(members, members[1:] + members[:1], strict=True):
            partners[here] = there
    return partners


ABLATIONS.add(
    Kind(
        "counterfactual",
        "its value on the paired prompt",
        paired=True,
        cost="1F of the source run",
        source="Vig et al. 2020; Meng et al. 2022",
    )
)
ablation(
    "mean",
    sentence="its mean over all positions of all clean prompts",
    cost="1F over the clean prompts",
    source="Wang et al. 2022",
)(Prompts.means)
ABLATIONS.add(Kind("zero", "zero", source="Olsson et al. 2022"))
ABLATIONS.add(
    Kind(
        "optimal",
        "the constant that changes the model's output least, learned on the scored prompts",
        learn=learn,
        forwards=FORWARDS,
        cost=f"{FORWARDS}F over the clean prompts",
        source="Li & Janson 2024",
    )
)
ABLATIONS.add(
    Kind(
        "resample",
        "its value on another clean prompt with as many tokens (seeded)",
        partners=_derange,
        cost="1F of the source run",
        source="Chan et al. 2022",
    )
)
