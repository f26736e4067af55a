"""By what nodes may be replaced, in which direction, and what else may be tried beside: names shared by scoring and evaluation.

A kind is an entry of `ABLATIONS`: a run on the paired prompt or on another one, or fixed values by site. A new one is one
function and one line of registration.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor

from interp.errors import MethodError, TaskError, unknown
from interp.learning.optimal import FORWARDS, Learned, learn
from interp.registries import About, Registry
from interp.tasks.clean_prompts import Prompts
from interp.tasks.metric import Direction
from interp.whole_numbers import whole

Partners = Callable[[Sequence[int], int], Sequence[int]]
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
