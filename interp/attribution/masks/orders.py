"""One order of all parts whose first n are a good circuit for every n, learned by gradients of runs with masks.

Each part has a number theta. At a size n its share is sigmoid((theta - t) / width), with t such that shares sum to n: nearly all for the
first n parts, next to nothing for the rest. Sizes take turns, and so do parts of the pairs: each step moves theta down (1 - f)^2 at one
size by one part of the pairs, and a round is as many steps as there are such parts.
"""

from __future__ import annotations

from math import log
from typing import Final

import torch
from torch import Tensor

from interp.attribution.masks.searches import Search
from interp.rules.rules import Rules

#: How many sizes take turns, and the shares of the parts that the largest and the smallest hold.
SIZES: Final = 10
LARGEST: Final = 1 / 4
SMALLEST: Final = 1 / 400
#: Theta begins with numbers from this to minus this, by the logarithm of the rank.
WIDEST: Final = 5.0
#: Over how much of theta shares fall, at the beginning, where parts far down the order still have some, and at the end.
WIDE: Final = 3.0
NARROW: Final = 0.3
#: Adam's rate, which falls to nearly nothing as a cosine does, and its averages, short as each size comes round every tenth time.
RATE: Final = 0.5
BETAS: Final = (0.9, 0.99)


def learned_order(search: Search, start: Tensor, rounds: int, rules: Rules) -> Tensor:
    """A score of each part [part]: 1 for the first of the order, 0 for the last, by the logarithm of the place.

    start: scores whose order theta begins with.
    """
    at, turns = search.masked.competing.nonzero()[:, 0], search.masked.turns
    theta, sizes = _beginning(start[at]), sizes_of(len(at))
    steps = torch.optim.Adam([theta], lr=RATE, betas=BETAS)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(steps, rounds * turns)
    for k in range(rounds * turns if sizes else 0):
        width = WIDE * (NARROW / WIDE) ** (k / (rounds * turns))
        share = shares(theta, sizes[k % len(sizes)], width)
        mask = torch.zeros(len(start), dtype=torch.float64).index_put((at,), share)
        missing, slopes = search.missing(mask, rules, turn_of(k, len(sizes), turns))
        theta.grad = _normed(_along(share, -2 * missing * slopes[at], width))
        steps.step()
        slower.step()
    return torch.zeros(len(start), dtype=torch.float64).index_put((at,), by_place(theta))


def sizes_of(n: int) -> list[int]:
    """The sizes that take turns, of n parts, the largest first."""
    shares_of_all = torch.logspace(log(LARGEST), log(SMALLEST), SIZES, base=torch.e, dtype=torch.float64)
    return sorted({max(1, round(n * share)) for share in shares_of_all.tolist()} - {n}, reverse=True)


def turn_of(step: int, sizes: int, turns: int) -> int:
    """Whose turn a step is: one on with each step, and one back when all sizes have been, so that each size meets all turns."""
    return (step % sizes - step // sizes) % turns


def shares(theta: Tensor, n: int, width: float) -> Tensor:
    """The shares [part] at a size: sigmoid((theta - t) / width) with t halved down to where they sum to n."""
    reach = width * (log(len(theta)) + 40)
    low, high = float(theta.min()) - reach, float(theta.max()) + reach
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(torch.sigmoid((theta - middle) / width).sum()) > n else (low, middle)
    return torch.sigmoid((theta - low) / width)


def _along(share: Tensor, slopes: Tensor, width: float) -> Tensor:
    """Slopes for shares as slopes for theta, while the sum of the shares stays: t moves with theta."""
    steep = share * (1 - share) / width
    total = steep.sum()
    return steep * (slopes - (steep @ slopes) / total) if total > 0 else torch.zeros_like(share)


def _normed(slopes: Tensor) -> Tensor:
    """Of length 1, so that every size counts the same."""
    length = slopes.norm()
    return slopes / length if length > 0 else slopes


def _beginning(start: Tensor) -> Tensor:
    return WIDEST * (2 * by_place(start) - 1)


def by_place(scores: Tensor) -> Tensor:
    """A number for each place in the order of `scores` [part]: 1 for the highest, 0 for the lowest, by the logarithm of the place; earlier ones first where they are equal."""
    place = torch.empty(len(scores), dtype=torch.float64)
    place[torch.argsort(scores, descending=True, stable=True)] = torch.arange(1.0, len(scores) + 1, dtype=torch.float64)
    return 1 - torch.log(place) / max(log(len(scores)), 1e-9)
