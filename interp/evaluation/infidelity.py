"""How far values are from what replacing does: infidelity, with two kinds of noise.

    mean over draws of ( s sum_p c_p v_p - (m(x) - m(x - c (x - b))) )^2, c_p the share of group p that is replaced

`removal`: each group is replaced or not, with a chance of one half (the square removal of the paper, for groups of any form).
`noisy baseline`: every group is replaced by something near its baseline, c_p normal around 1 with standard deviation `SPREAD`.
s is 1, or where it is asked for the scale that makes the mean least, sum a d / sum a^2 over the draws, a = sum_p c_p v_p and d the change.
Source: Yeh et al. 2019, sections 2.1 and 3. Units: the metric's, squared. Values of another unit are only comparable with the scale.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from interp.evaluation.mixing import Mixed

SPREAD: Final = 0.5
#: The two kinds of noise.
REMOVAL, NOISY = "removal", "noisy baseline"


def draws(kind: str, n_players: int, n_draws: int, rng: np.random.Generator) -> np.ndarray:
    """The shares that are replaced [draw player]."""
    if kind == REMOVAL:
        return rng.integers(0, 2, (n_draws, n_players)).astype(np.float64)
    return 1 + SPREAD * rng.standard_normal((n_draws, n_players))


def infidelity(mixed: Mixed, values: np.ndarray, replaced: np.ndarray, *, scaled: bool = False) -> float:
    """The infidelity of values [player] over draws of replaced shares [draw player]. Cost: 1F for each draw, shared by all methods."""
    change = mixed.whole() - mixed.values(1 - replaced)
    said = replaced @ values
    if scaled and (said @ said) > 0:
        said = said * (said @ change) / (said @ said)
    return float(np.square(said - change).mean())
