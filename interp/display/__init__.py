"""interp/display"""

from interp.display import attention_plots, model_cards, plots, score_cards, table_cards, table_plots

__all__ = ["attention_plots", "model_cards", "plots", "score_cards", "table_cards", "table_plots"]
