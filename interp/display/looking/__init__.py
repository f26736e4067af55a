"""How does what is found inside a model, without a circuit, look in notebooks and figures?

`summary_views` shows statistics of activations, `effect_cards` and `effect_plots` effects of neurons, of the last block and of the sources of features,
`probe_views` probes.

To show a class: one function under `@showing.card.register` or `@showing.figure.register`, of that class; a new file is one more name in the import
below. Nothing imports this room: `interp/__init__.py` names it, and it is loaded when the first value is shown.
"""

from interp.display.looking import effect_cards, effect_plots, probe_views, summary_views

__all__ = ["effect_cards", "effect_plots", "probe_views", "summary_views"]
