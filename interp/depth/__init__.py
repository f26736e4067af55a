"""How much does each layer do, and what is left of the model without it, or with it twice?

`material` is what a model is run on, texts or a task; `outcomes` says what a run says of the answers; `removal` leaves parts of layers out of a run, and
begins at the first that is changed; `stream_measures` are measures of one forward; `later_layers` says how much what comes later changes;
`layer_scores` is the registry of scores by which parts are dropped; `layer_use`, `drop_layers`, `chain_search` and `layer_match` are what users
call, with their values; `perturbed` is the noise that chains are compared with.

To add a score: one function under `@layer_score(...)` in layer_scores.py. How a chain of layers is run: `interp.model.chains.chain_runs`. How values show
themselves is registered in `interp.display`.
"""
