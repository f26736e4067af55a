"""How do the values of the engine look in notebooks and figures?

`model_cards` shows models, runs, tasks, rules, dictionaries; `score_cards` shows results; `plots` draws them;
`attention_plots` draws where heads look; `table_cards` and `table_plots` are those of the smaller tables; `evaluation_views` shows how good attributions to tokens are.

To show a class: one function under `@showing.card.register` or `@showing.figure.register`, of that class; a new file
is one more name in the import below. No room but `circuits.display` imports this one: it is loaded when the first value is shown.
"""

from interp.display import attention_plots, evaluation_views, model_cards, plots, score_cards, table_cards, table_plots

__all__ = ["attention_plots", "evaluation_views", "model_cards", "plots", "score_cards", "table_cards", "table_plots"]
