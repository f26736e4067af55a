"""How do circuits and what was measured of them look in notebooks and figures?

`circuit_cards` shows circuits and evaluations; `circuit_plots` draws them; `side_cards` shows two side by side, `transfer_views` circuits judged on
other tasks.

To show a class: one function under `@showing.card.register` or `@showing.figure.register`, of that class; a new file
is one more name in the import below. No other room imports this one.
"""

from circuits.display import circuit_cards, circuit_plots, side_cards, transfer_views

__all__ = ["circuit_cards", "circuit_plots", "side_cards", "transfer_views"]
