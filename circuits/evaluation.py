"""What was measured of a circuit: faithfulness, completeness, the curve over sizes, the random baseline. Pure data."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from circuits.circuit import CircuitError
from interp.files import write_text

FORMAT: Final = 1


@dataclass(frozen=True)
class Estimate:
    """A ratio with its 95 % bootstrap interval over prompt pairs. `value` None: undefined; a single pair has no interval."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Point:
    """Circuits of one size on the faithfulness curve. `random`: the same of every random circuit of that size and kinds."""

    size: int
    faithfulness: Estimate
    random: tuple[float | None, ...]


@dataclass(frozen=True)
class Evaluation:
    """Measured on `n_pairs` pairs (`held_out`: none of them was used for the scores).

    faithfulness f(C) = (m(C) - m(empty)) / (m(full) - m(empty)), everything outside C ablated, m the mean over
    examples first; completeness: f of the complement (near 0 is good). `reason` says why they are undefined.
    `random_above`: the fraction of random circuits of the circuit's size whose faithfulness is at least as near 1.
    """

    faithfulness: Estimate
    completeness: Estimate
    metric: str
    unit: str
    full: float
    empty: float
    circuit: float
    size: int
    n_nodes: int
    ablation: str
    n_pairs: int
    held_out: bool
    curve: tuple[Point, ...]
    random_above: float | None
    n_random: int
    seed: int
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"format": FORMAT, **asdict(self)}

    def save(self, path: str | Path) -> None:
        """Write JSON that `load` reads back to an equal evaluation."""
        write_text(path, json.dumps(self.to_dict(), indent=1))

    @classmethod
    def load(cls, path: str | Path) -> Evaluation:
        """Read what `save` wrote. Raises: CircuitError for another file or format."""
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
            if data.pop("format", None) != FORMAT:
                raise CircuitError(f"{path}: not an evaluation of format {FORMAT}.")
            data["curve"] = tuple(
                Point(p["size"], Estimate(**p["faithfulness"]), tuple(p["random"])) for p in data["curve"]
            )
            for name in ("faithfulness", "completeness"):
                data[name] = Estimate(**data[name])
            return cls(**data)
        except (OSError, json.JSONDecodeError, TypeError, KeyError, AttributeError) as error:
            raise CircuitError(f"evaluation file {str(path)!r} cannot be read: {error}.") from error

    def __str__(self) -> str:
        f, c = self.faithfulness, self.completeness
        head = f"Evaluation of {self.size} of {self.n_nodes} nodes on {self.n_pairs} {'held-out ' if self.held_out else ''}pairs"
        if f.value is None:
            return f"{head}: faithfulness undefined ({self.reason})"
        return f"{head}: faithfulness {_show(f)}, completeness of the complement {_show(c)}, random circuits as good: {self.random_above}"


def _show(e: Estimate) -> str:
    if e.value is None:
        return "undefined"
    return f"{e.value:.3f}" if e.low is None or e.high is None else f"{e.value:.3f} [{e.low:.3f}, {e.high:.3f}]"
