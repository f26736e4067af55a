"""From scores to a circuit: the top of a ranking, by count, fraction or threshold."""

from __future__ import annotations

from circuits.circuit import ALWAYS, Circuit, CircuitError
from interp.nodes import CIRCUIT_LEVELS
from interp.scores import Ranking, Scores


def ranked(scores: Scores, ranking: Ranking = "absolute") -> list[int]:
    """Indices of the nodes that a circuit may list, most important first.

    Raises: CircuitError for levels or positions that are maps.
    """
    level, positions = scores.provenance.level, scores.provenance.positions
    if level not in CIRCUIT_LEVELS:
        raise CircuitError(
            f"level {level!r} is a map, not a set of parts: circuits exist for {', '.join(CIRCUIT_LEVELS)}."
        )
    if positions != "all":
        raise CircuitError(f"scores with positions={positions!r} are a map; make a circuit from positions='all'.")
    return [int(i) for i in scores.rank(ranking) if scores.parts[i].kind not in ALWAYS]


def discover(
    scores: Scores,
    *,
    n: int | None = None,
    fraction: float | None = None,
    threshold: float | None = None,
    ranking: Ranking = "absolute",
) -> Circuit:
    """The most important nodes: the first `n`, a `fraction` of all (rounded up), or those of importance >= `threshold`.

    ranking: `absolute` by size, `signed` by importance (nodes that work against the answer come last). The embedding
    is in every circuit and is not counted.

    Raises: CircuitError for none or several of n, fraction, threshold, or one out of range.
    """
    order = ranked(scores, ranking)
    given = {k: v for k, v in (("n", n), ("fraction", fraction), ("threshold", threshold)) if v is not None}
    if len(given) != 1:
        raise CircuitError(f"give one of n, fraction and threshold; given {given or 'none'}.")
    if n is not None and not 1 <= n <= len(order):
        raise CircuitError(f"n={n}: expected 1 to {len(order)}, the nodes of level {scores.provenance.level!r}.")
    if fraction is not None and not 0 < fraction <= 1:
        raise CircuitError(f"fraction={fraction}: expected more than 0 and at most 1.")
    if threshold is not None:
        sizes = scores.importance if ranking == "signed" else abs(scores.importance)
        keep = [i for i in order if sizes[i] >= threshold]
    else:
        keep = order[: n if n is not None else -int(-(fraction or 0) * len(order) // 1)]
    if not keep:
        raise CircuitError(
            f"threshold={threshold}: no node reaches it; the largest importance is {max(abs(scores.importance)):.4g}."
        )
    p = scores.provenance
    how = ", ".join(f"{k}={v:g}" for k, v in given.items())
    return Circuit(
        tuple(scores.parts[i] for i in keep), p.level, p.model, p.task, p.method, f"{how}, {ranking} ranking", p.pairs
    )
