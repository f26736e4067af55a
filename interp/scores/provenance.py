"""Every convention that a score depends on, as a value and as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Final

from interp.formatting.plain import kinds, rebuilt

#: Said by some methods and ablations only, and of edges at positions of some models.
_SOMETIMES: Final = ("constants", "masks", "both_ways")


@dataclass(frozen=True)
class Provenance:
    """Every convention that a score depends on.

    `importance_sign`: +1 where a positive score means important. `base_metric`, `source_metric`: means over the
    examples. `forwards`, `backwards`: passes over the data that this method made; runs shared with other methods count
    for the first that needs them. `coefficients_at`: where gradients or relevance coefficients are taken. `pairs`:
    a hash of every pair, so that scores of other prompts are never compared. `kv`, `split_positions`: which graph the
    edges of level `edges` belong to (see `interp.parts.graph`). `tau`: the threshold that ACDC used, in `unit`.
    `engine`: how exact patching ran the model: by replay, or by whole forwards and why. `unsigned`:
    scores are sizes of effects and say nothing of their direction. `dictionaries`: at level `features` where each is, its
    size and a hash of it, so that features of other dictionaries are never taken for these. `masks`: what a search on masks was told.
    `both_ways`: of edges at positions, whether positions may look at later ones.
    """

    method: str
    level: str
    positions: str
    direction: str
    ablation: str
    metric: str
    unit: str
    importance_sign: int
    rules: str
    steps: int | None
    quadrature: str | None
    seed: int
    model: str
    task: str
    n_pairs: int
    dtype: str
    attention: str
    base_metric: float
    source_metric: float | None
    forwards: float
    backwards: float
    seconds: float
    exact: bool
    coefficients_at: str = ""
    special_tokens: str = ""
    padding: str = "none: every batch has one length"
    pairs: tuple[str, ...] = ()
    kv: str = "shared"
    split_positions: bool = False
    tau: float | None = None
    engine: str = ""
    unsigned: bool = False
    dictionaries: tuple[str, ...] = ()
    constants: str = ""
    masks: str = ""
    both_ways: bool = False

    def __post_init__(self) -> None:
        for name in ("pairs", "dictionaries"):  # lists, where they come from a file
            object.__setattr__(self, name, tuple(getattr(self, name) or ()))


def told(provenance: Provenance) -> dict[str, Any]:
    """A provenance as plain data, without what only some methods and ablations say where these say nothing."""
    return {k: v for k, v in asdict(provenance).items() if k not in _SOMETIMES or v}


def has_its_keys(data: object) -> bool:
    """Whether plain data names what a provenance must say, and nothing that this version does not know."""
    needed = {f.name for f in fields(Provenance) if f.default is MISSING}
    return isinstance(data, dict) and needed <= set(data) <= {f.name for f in fields(Provenance)}


def provenance_of(data: Mapping[str, Any]) -> Provenance:
    """A provenance of plain data, as it was written. Raises: TypeError for a value of another kind."""
    hints = kinds(Provenance)
    for name, value in data.items():
        if value is not None or name not in ("pairs", "dictionaries"):
            rebuilt(hints[name], value)
    if data["importance_sign"] not in (1, -1):
        raise TypeError(f"importance_sign is {data['importance_sign']}; expected 1 or -1")
    return Provenance(**data)
