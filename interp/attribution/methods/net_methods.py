"""LRP at modules and channels of nets without blocks: the presets of `interp.rules.lrp`."""

from __future__ import annotations

from interp.attribution.methods.node_methods import at_base_point
from interp.attribution.protocol.registry import method
from interp.rules.lrp import OF_NETS

for _preset in OF_NETS:
    method(
        _preset.name,
        formula="d_u . rho_u(base)",
        cost="2F + 1B",
        paper=_preset.source,
        rules=_preset.rules,
        base_point=True,
        of_nets=True,
    )(at_base_point)
