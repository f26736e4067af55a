"""How do neurons, the last block, the response of an MLP and the sources of features look?

`effect_cards` shows them in notebooks, `effect_plots` draws them. To show another: one function under `@showing.card.register` or
`@showing.figure.register` in the file of its kind.
"""

from interp.display.effects import effect_cards, effect_plots

__all__ = ["effect_cards", "effect_plots"]
