"""Patches are run in chunks within a limit."""

from __future__ import annotations

import torch

from interp.attribution.exact.engine import Replay
from interp.attribution.exact.machine import find_restart
from interp.attribution.exact.node_patches import node_patches
from interp.attribution.exact.recording import record
from interp.attribution.exact.sweep import _together, bytes_of_patch
from interp.model.modules import attention
from interp.parts.nodes import groups
from interp.parts.tokens import as_tokens
from tests.interp.model.tiny import hooked, ids


def test_no_chunk_of_patches_is_larger_than_the_limit() -> None:
    """Each patch is in one chunk, in order; a chunk is within the limit unless it is a single patch."""
    model, tokens = hooked("gpt2"), as_tokens(ids(2), None)
    machine = find_restart(model).machine
    assert machine is not None
    with torch.no_grad(), attention.selected(model.hf, None):
        replay = Replay(machine, record(model, machine.modules, tokens), 1)
    group = groups("neurons", model.layout)[0]
    items = []
    for position in range(tokens.ids.shape[1]):
        at = torch.zeros_like(tokens.ids, dtype=torch.bool)
        at[:, position] = True
        value = torch.randn(2, tokens.ids.shape[1], group.n_units)
        found = node_patches(replay, group, value, torch.zeros_like(value), at, range(group.n_units))
        assert found is not None
        items.append((position, found))
    last = bytes_of_patch(replay, tokens.ids.shape[1] - 1)
    assert last < bytes_of_patch(replay, 0)
    for limit in (1, 3 * last, 100 * last, 1 << 30):
        chunks = list(_together(items, replay, limit))
        for chunk in chunks:
            used = sum(p.n * bytes_of_patch(replay, p.patches.start) for p in chunk)
            assert used <= limit or sum(p.n for p in chunk) == 1
        seen = [(p.key, unit) for chunk in chunks for p in chunk for unit in range(p.some.start, p.some.stop)]
        assert seen == [(position, unit) for position, _ in items for unit in range(group.n_units)]
        assert limit > 1 or len(chunks) == len(seen)
