"""Which blocks of a stack are called in a run, in which order and how often, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from interp.errors import LayoutError, SiteError
from interp.parts.layout import Layout
from interp.parts.sites import MODULE, Site, no_stack
from interp.whole_numbers import whole


@dataclass(frozen=True)
class Move:
    """A change of the order in which blocks are called: `skip` leaves a layer out, `repeat` calls it `times` more times in a row."""

    kind: Literal["skip", "repeat"]
    layer: int
    times: int = 1

    def __str__(self) -> str:
        return f"{self.kind} {self.layer}" if self.times == 1 else f"{self.kind} {self.layer} x{self.times}"


#: A chain of layers, or moves that change the usual one; of a model with several stacks by the prefix of the stack.
Chain = Sequence[int] | Sequence[Move] | Move
Layers = Chain | Mapping[str, Chain]


def skip(layer: int) -> Move:
    """Leave a layer out: `model.run(text, layers=interp.skip(3))`. Raises: SiteError for no whole number."""
    return Move("skip", _layer(layer))


def repeat(layer: int, *, times: int = 1) -> Move:
    """Call a layer `times` more times, one after the other: `model.run(text, layers=interp.repeat(3))`. Raises: SiteError."""
    if (n := whole(times, "times", SiteError)) < 1:
        raise SiteError(f"times={n}: expected how often more the layer is called, 1 or more.")
    return Move("repeat", _layer(layer), n)


def chains_of(layers: Layers, layout: Layout) -> dict[str, tuple[int, ...]]:
    """The layers that are called, in order, by the prefix of their stack. Raises: SiteError for a layer or a stack that is not there, and
    for an empty chain; LayoutError for a net without blocks, or whose layers need those before them."""
    layout.check_blocks("layers")
    given: Mapping[str, Chain] = layers if isinstance(layers, Mapping) else {"": layers}
    if not given:
        raise SiteError("layers: no stack given; expected one or more, for example {'encoder': [0, 1]}.")
    found = {}
    for name, chain in given.items():
        own = {"decoder": ""}.get(name, name) if name not in layout.layers else name
        if own not in layout.layers:
            raise SiteError(f"layers: {no_stack(name, layout.layers)}")
        found[own] = _chain(chain, layout.layers[own])
        if shared := layout.stack(own).sharing:
            raise LayoutError(
                f"layers: {shared} takes its keys and values from an earlier layer; expected blocks that stand alone."
            )
    return found


def check_sites(sites: Iterable[Site], chains: Mapping[str, tuple[int, ...]], layout: Layout) -> None:
    """Raises: SiteError for a site of a layer that a chain leaves out, or calls several times, so that there is no one value there."""
    for site in sites:
        for name, chain in chains.items():
            layer = _layer_of(site, name, layout)
            if layer is None or chain.count(layer) == 1:
                continue
            n = chain.count(layer)
            how = (
                "leaves layer {} out, so there is nothing there"
                if n == 0
                else "calls layer {} several times, so there is no one value there"
            )
            raise SiteError(f"site '{site}': this chain of layers, {list(chain)}, {how.format(layer)}.")
        _check_last(site, chains, layout)


def _check_last(site: Site, chains: Mapping[str, tuple[int, ...]], layout: Layout) -> None:
    """Without a final norm what leaves the last block is read there, which must then be called last."""
    if site.kind != "resid_final" or site.stack not in chains or layout.stack(site.stack).ln_final is not None:
        return
    chain, last = chains[site.stack], layout.stack(site.stack).n_layers - 1
    if chain[-1] != last or chain.count(last) != 1:
        raise SiteError(
            f"site '{site}': this model has no final norm, and this chain, {list(chain)}, does not end with its last layer."
        )


def _layer_of(site: Site, stack: str, layout: Layout) -> int | None:
    """The layer of a stack that a site is in; None where it is in none."""
    if site.kind != MODULE:
        return site.layer if site.stack == stack and site.kind != "logits" else None
    blocks = layout.stack(stack).blocks
    return next(
        (i for i, own in enumerate(blocks) if site.path == own.path or site.path.startswith(f"{own.path}.")), None
    )


def _chain(given: object, n: int) -> tuple[int, ...]:
    """One chain of a stack of n layers. Raises: SiteError."""
    items = [given] if isinstance(given, Move) else given
    if isinstance(items, (str, bytes)) or not isinstance(items, Sequence):
        raise SiteError(
            f"layers={given!r:.60}: expected a list of layers, for example [0, 1, 1, 3], or interp.skip(2)."
        )
    moves = [item for item in items if isinstance(item, Move)]
    if moves and len(moves) < len(items):
        raise SiteError(
            "layers: numbers and moves together; expected a list of layers, or of interp.skip and interp.repeat."
        )
    chain = moved(n, moves) if moves else tuple(map(_layer, items))
    _check_range(chain, n, f"chain {list(chain)[:12]}")
    if not chain:
        raise SiteError("layers: an empty chain; expected at least one layer.")
    return chain


def moved(n: int, moves: Iterable[Move]) -> tuple[int, ...]:
    """The usual chain of n layers after some moves. Raises: SiteError for a layer that is not there, or skipped twice or besides repeated."""
    counts = [1] * n
    for move in moves:
        _check_range((move.layer,), n, str(move))
        if counts[move.layer] == 0 or (move.kind == "skip" and counts[move.layer] > 1):
            raise SiteError(f"{move}: layer {move.layer} is skipped and moved again; give one move of a skipped layer.")
        counts[move.layer] = 0 if move.kind == "skip" else counts[move.layer] + move.times
    return tuple(layer for layer, times in enumerate(counts) for _ in range(times))


def _check_range(chain: Sequence[int], n: int, what: str) -> None:
    if any(not 0 <= layer < n for layer in chain):
        raise SiteError(f"{what}: this model has layers 0 to {n - 1}.")


def _layer(given: object) -> int:
    return whole(given, "layer", SiteError)
