"""Nets without blocks have no stream to look at: lenses refuse them by name."""

from __future__ import annotations

import pytest

import interp
from interp.errors import LayoutError
from tests.interp.model.nets.made import cnn, drawn, settled


def test_lenses_and_patterns_are_refused_by_name() -> None:
    model, x = interp.load(settled(cnn())), drawn(1, 1, 8, 8)
    for act in (lambda: interp.logit_lens(model, x), lambda: interp.attention_patterns(model, x)):
        with pytest.raises(LayoutError, match="no chain of blocks with attention"):
            act()
