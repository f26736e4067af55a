"""How do the values of the engine look in notebooks and figures?

`model_cards` shows models, runs, rules, dictionaries, `task_cards` tasks; `score_cards` shows results; `plots` draws them;
`attention_plots` draws where heads look, `model_view` shows all of them at once, `head_cards` and `head_plots` show that of many texts, `pair_cards` has
matrices of tokens with tokens, `picture_cards` inputs that are no text and the lens of classifiers; `table_cards` and `table_plots` are those of the smaller
tables; `evaluation_views` shows how good attributions to tokens are, `layer_views` what layers are used for,
and what a decoder makes of those of its encoder.

To show a class: one function under `@showing.card.register` or `@showing.figure.register`, of that class; a new file
is one more name in the import below. No room but `circuits.display` imports this one: it is loaded when the first value is shown.
"""

from interp.display import (
    attention_plots,
    evaluation_views,
    head_cards,
    head_plots,
    layer_views,
    model_cards,
    model_view,
    pair_cards,
    picture_cards,
    plots,
    score_cards,
    table_cards,
    table_plots,
    task_cards,
)

__all__ = [
    "attention_plots",
    "evaluation_views",
    "head_cards",
    "head_plots",
    "layer_views",
    "model_cards",
    "model_view",
    "pair_cards",
    "picture_cards",
    "plots",
    "score_cards",
    "table_cards",
    "table_plots",
    "task_cards",
]
