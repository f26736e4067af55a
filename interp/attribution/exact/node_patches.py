"""The nodes of a group as patches of a replay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.patches import Inside, Patches, Some
from interp.attribution.exact.segments import Segment
from interp.parts.nodes import Group
from interp.parts.sites import Site
from interp.precision import wide

_STREAM: Final = ("embed", "resid_pre", "resid_post")


def span(positions: Tensor) -> tuple[int, int] | None:
    """The first and one past the last of the positions [batch pos] that any example has; None without any."""
    found = positions.any(0).nonzero()
    return (int(found[0]), int(found[-1]) + 1) if len(found) else None


def node_patches(
    replay: Replay, group: Group, source: Tensor, base: Tensor, positions: Tensor, units: Sequence[int]
) -> Patches | None:
    """Each of `units` of a group patched alone at `positions` [batch pos]; None where nothing that is read can change.

    source, base: the values of the group's site in both runs.
    """
    source = source.to(base)
    where = span((source != base).flatten(2).any(-1) & positions.to(base.device))
    if where is None:
        return None
    chosen = positions.to(base.device).view(*positions.shape, *[1] * (base.ndim - 2))
    if group.kind in ("q", "k", "v"):
        return _channel(replay, group, torch.where(chosen, source, base), where, units)
    if group.kind in _STREAM:
        return _stream(replay, group, source, base, chosen, where)
    inside = Inside.of(replay, group.site.layer or 0, *where)
    if inside is None:
        return None
    # Only what is patched is held: patches of many positions wait for one replay together.
    new = torch.where(inside.cut(chosen), inside.cut(source), inside.cut(base))
    if group.kind == "head":
        return _heads(inside, wide(new) - wide(inside.cut(base)), [[unit] for unit in units])
    if group.kind == "neuron":
        return _neurons(inside, wide(new) - wide(inside.cut(base)), units)
    return _WHOLE[group.kind](inside, 1, lambda some: new[None])


_WHOLE: Final = {"attn_out": Inside.attention, "resid_mid": Inside.stream_between, "mlp": Inside.mlp}
#: The sites where something can be added; and the kinds of node that can be replayed, others are patched by whole forwards.
ADDED: Final = (*_STREAM, "resid_mid", "attn_out", "mlp_out", "z")
_PARTS: Final = tuple(f"{site}.{part}" for site in ADDED for part in ("feature", "error"))
REPLAYED: Final = frozenset((*_STREAM, "q", "k", "v", "head", "neuron", *_WHOLE, *_PARTS))


def added_patches(replay: Replay, site: Site, moved: Tensor, n: int, added: Some) -> Patches | None:
    """`n` patches that each add to what is at a site of `ADDED`; None where nothing that is read can change.

    moved [batch pos]: where any of them adds anything. added(some) [patch batch pos d]: what some of them add, at all
    positions, in float32 or better; heads concatenated at z.
    """
    where, layer = span(moved), site.layer or 0
    if where is None:
        return None
    if site.kind in _STREAM:
        entry = layer + (site.kind == "resid_post")
        start, stop = replay.reach(entry, *where)
        base = replay.recording.stream(entry)[:, start:stop]
        rows = None if start >= stop else lambda some: plus(base, added(some)[:, :, start:stop].to(base.device))
        return Patches(entry, n, start, stop, rows) if rows else None
    inside = Inside.of(replay, layer, *where)
    if inside is None:
        return None
    if site.kind == "z":
        W_O = inside.W_O().flatten(0, 1)

        def projected(some: slice) -> Tensor:
            change = inside.cut(added(some), 2)
            replay.counts.written += change.numel() * W_O.shape[-1]
            return change @ W_O.to(change)

        return inside.heads(n, projected)
    base = inside.cut(replay.value(site))
    return _AT[site.kind](inside, n, lambda some: plus(base, inside.cut(added(some), 2).to(base.device)))


_AT: Final = {"attn_out": Inside.attention, "resid_mid": Inside.stream_between, "mlp_out": Inside.mlp}


def plus(base: Tensor, added: Tensor) -> Tensor:
    """Their sum in the dtype of `base`, rounded once."""
    return (wide(base) + added).to(base.dtype)


def _stream(
    replay: Replay, group: Group, source: Tensor, base: Tensor, chosen: Tensor, where: tuple[int, int]
) -> Patches | None:
    """The stream itself: it enters its own layer, or the next one after a block."""
    entry = (group.site.layer or 0) + (group.kind == "resid_post")
    start, stop = replay.reach(entry, *where)
    if start >= stop:
        return None
    own = slice(start, stop)
    patched = torch.where(chosen[:, own], source[:, own], base[:, own])
    return Patches(entry, 1, start, stop, lambda some: patched[None])


def _heads(inside: Inside, change: Tensor, sets: Sequence[Sequence[int]]) -> Patches:
    """Sets of heads, each patched alone: change [batch pos head d_head] of z."""
    W_O = inside.W_O()

    def projected(some: slice) -> Tensor:
        chosen = sets[some]
        heads = torch.tensor([head for own in chosen for head in own], device=W_O.device)
        z = change.index_select(2, heads).permute(2, 0, 1, 3).flatten(1, 2)
        each = torch.bmm(z, W_O.index_select(0, heads).to(z.dtype))
        inside.replay.counts.written += z.numel() * W_O.shape[-1]
        return each.view(len(chosen), -1, *change.shape[:2], each.shape[-1]).sum(1)

    return inside.heads(len(sets), projected)


def _neurons(inside: Inside, change: Tensor, units: Sequence[int]) -> Patches:
    """Neurons, each patched alone: change [batch pos d_mlp]."""
    W_down = inside.W_down()

    def projected(some: slice) -> Tensor:
        chosen = torch.tensor(units[some], device=change.device)
        own = change.index_select(2, chosen).permute(2, 0, 1)
        return own[..., None] * W_down.index_select(0, chosen).to(own.dtype)[:, None, None]

    return inside.neurons(len(units), projected)


def _channel(
    replay: Replay, group: Group, patched: Tensor, where: tuple[int, int], units: Sequence[int]
) -> Patches | None:
    """Queries, keys or values: attention is redone once with all of a channel's heads patched, and each head's z taken from it.

    patched: q, k or v [batch pos head d_head]. Heads do not meet in attention, so that is what each would give alone.
    """
    layer = group.site.layer or 0
    start, stop = (where[0], where[1]) if group.kind == "q" else (where[0] if replay.causal else 0, replay.length)
    inside = Inside.of(replay, layer, start, stop)
    if inside is None:
        return None
    change = z_change(replay, inside, {group.kind: patched.transpose(1, 2)})
    per_unit = change.shape[2] // group.n_units
    return _heads(inside, change, [range(unit * per_unit, (unit + 1) * per_unit) for unit in units])


def z_change(replay: Replay, inside: Inside, new: dict[str, Tensor]) -> Tensor:
    """What other q, k or v [n*batch head pos d_head] of the layer change in z [n*batch pos head d_head], in float32 or better.

    `n` copies of the batch go through at once; the channels that are not given are those of the base run.
    """
    record = replay.recording.layers[inside.layer]
    n = next(iter(new.values())).shape[0] // replay.batch
    base = {"q": record.q, "k": record.k, "v": record.v}
    now = {channel: new.get(channel, x if n == 1 else x.repeat(n, 1, 1, 1)) for channel, x in base.items()}
    own = Segment(1, inside.start, inside.stop)
    before = replay.attend(inside.layer, own, inside.cut(base["q"], 2), base["k"], base["v"])
    own = Segment(n, inside.start, inside.stop)
    after = replay.attend(inside.layer, own, inside.cut(now["q"], 2), now["k"], now["v"])
    return wide(after) - wide(before if n == 1 else before.repeat(n, 1, 1, 1))
