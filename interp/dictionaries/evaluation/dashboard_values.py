"""What a feature dashboard holds: frozen plain data, to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

from interp.dictionaries.activation import DictionaryError
from interp.files import write_text

FORMAT: Final = "feature dashboards 1"


@dataclass(frozen=True)
class Example:
    """A piece of text with what a feature is at each token; None where the token does not count (the one that begins a text).

    peak: the place in `tokens` that the example was chosen for; position: the same in its row of the data, padding not counted.
    document: the row's number in the data, and beginnings of texts inside rows counted too.
    """

    document: int
    position: int
    peak: int
    tokens: tuple[str, ...]
    activations: tuple[float | None, ...]


@dataclass(frozen=True)
class Band:
    """Examples drawn at random among those whose activation is in (low, high]."""

    low: float
    high: float
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class Histogram:
    """How many tokens have an activation in each of the bins of equal width that begin at 0."""

    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class TokenEffect:
    """What one unit of a feature adds, directly, to the logit of a token."""

    id: int
    token: str
    effect: float


@dataclass(frozen=True)
class LogitEffects:
    """The tokens whose logits a feature raises and lowers most. reason: why there are none."""

    top: tuple[TokenEffect, ...] = ()
    bottom: tuple[TokenEffect, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class Neighbour:
    """Another feature with the cosine of the two decoder rows."""

    feature: int
    cosine: float


@dataclass(frozen=True)
class Dashboard:
    """What there is to see of one feature.

    density: share of the tokens where it is active. mean: over the tokens where it is; maximum: over all. n_tokens: those
    looked at. heads: share of each head in the decoder row, empty for dictionaries that are not of z. chosen: why this one.
    """

    feature: int
    chosen: str
    n_tokens: int
    n_active: int
    mean: float
    maximum: float
    histogram: Histogram
    top: tuple[Example, ...]
    bands: tuple[Band, ...]
    effects: LogitEffects
    nearest: tuple[Neighbour, ...]
    heads: tuple[float, ...]

    @property
    def density(self) -> float:
        return self.n_active / self.n_tokens if self.n_tokens else 0.0


def save_dashboards(dashboards: Sequence[Dashboard], path: str | Path) -> None:
    """Write JSON that `load_dashboards` reads back to equal values."""
    data = {"format": FORMAT, "dashboards": [asdict(d) for d in dashboards]}
    write_text(path, json.dumps(data, allow_nan=False))


def load_dashboards(path: str | Path) -> tuple[Dashboard, ...]:
    """Read what `save_dashboards` wrote. Raises: DictionaryError for another file, key or type."""
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(data, dict) or set(data) != {"format", "dashboards"} or data["format"] != FORMAT:
            raise TypeError(f"expected the format {FORMAT!r}")
        return tuple(_rebuilt(Dashboard, one) for one in data["dashboards"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DictionaryError(
            f"{path}: no dashboards can be read: {error}; expected what save_dashboards wrote."
        ) from error


def _rebuilt(kind: Any, data: Any) -> Any:
    """`data` as a value of `kind`: one of the classes above, a tuple, a number or a text. Raises: TypeError where it is none."""
    if hasattr(kind, "__dataclass_fields__"):
        hints, known = get_type_hints(kind), {f.name for f in fields(kind)}
        if not isinstance(data, dict) or set(data) != known:
            raise TypeError(f"expected the fields of {kind.__name__}, got {str(data)[:80]}")
        return kind(**{name: _rebuilt(hints[name], value) for name, value in data.items()})
    if getattr(kind, "__origin__", None) is tuple:
        if not isinstance(data, list):
            raise TypeError(f"expected a list, got {str(data)[:80]}")
        return tuple(_rebuilt(get_args(kind)[0], item) for item in data)
    if data is None and type(None) in get_args(kind):
        return None
    wanted = float if float in get_args(kind) else kind
    if wanted is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if not isinstance(data, wanted) or isinstance(data, bool):
        raise TypeError(f"expected {wanted.__name__}, got {str(data)[:80]}")
    return data
