"""circuits/display"""

from circuits.display import circuit_cards, circuit_plots, side_cards

__all__ = ["circuit_cards", "circuit_plots", "side_cards"]
