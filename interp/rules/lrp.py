"""The presets of nets without blocks: LRP, by the names of their composites (Montavon et al. 2019)."""

from __future__ import annotations

from typing import Final

from interp.rules.layer_rules import LayerRule, LinearRule
from interp.rules.rules import Preset, Rules


def _lrp(conv: LayerRule, first: LayerRule | None = None) -> Rules:
    """Gates, which recurrent layers alone have here, are held: what they give has no f(x) / x."""
    return Rules(norm="frozen", act="identity", gate=0.0, linear=LinearRule(conv, LayerRule("epsilon"), first))


def _parts(alpha: float, beta: float) -> LayerRule:
    """Sums of one sign do not cancel, so their epsilon is there for the sum of nothing alone, and is small."""
    return LayerRule("alpha-beta", epsilon=1e-9, alpha=alpha, beta=beta)


EPSILON: Final = _lrp(LayerRule("epsilon"))
EPSILON_PLUS: Final = _lrp(_parts(1.0, 0.0))
EPSILON_ALPHA2_BETA1: Final = _lrp(_parts(2.0, 1.0))
EPSILON_PLUS_FLAT: Final = _lrp(_parts(1.0, 0.0), LayerRule("flat"))


def epsilon_gamma_box(low: float, high: float) -> Rules:
    """LRP with the gamma rule in convolutions, epsilon in dense layers, and the box rule where the net's input, which is between `low` and `high`,
    is read. Raises: UnsupportedRuleError for a box without 0."""
    return _lrp(LayerRule("gamma"), LayerRule("box", low=low, high=high))


#: Presets of nets without blocks, by the names of their composites. The box of `epsilon-gamma-box` is that of pixels from 0 to 1.
OF_NETS: Final = (
    Preset(
        "epsilon",
        EPSILON,
        "LRP: epsilon rule in every linear layer, norms and gates held, f(x) / x",
        "Bach et al. 2015",
    ),
    Preset(
        "epsilon-plus",
        EPSILON_PLUS,
        "LRP: positive parts alone in convolutions, epsilon in dense layers",
        "Montavon et al. 2019",
    ),
    Preset(
        "epsilon-alpha2-beta1",
        EPSILON_ALPHA2_BETA1,
        "LRP: twice the positive parts less the negative ones in convolutions, epsilon in dense layers",
        "Bach et al. 2015",
    ),
    Preset(
        "epsilon-plus-flat",
        EPSILON_PLUS_FLAT,
        "LRP: as epsilon-plus, with equal shares where the input is read",
        "Lapuschkin et al. 2019",
    ),
    Preset(
        "epsilon-gamma-box",
        epsilon_gamma_box(0.0, 1.0),
        "LRP: positive parts favoured in convolutions, epsilon in dense layers, the box from 0 to 1 where the input is read",
        "Montavon et al. 2019",
    ),
)
