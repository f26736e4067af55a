"""How is a model run with everything outside a set of parts ablated?

`runner` is the one interface; `node_runner`, `edge_runner` and `feature_runner` are those of nodes, of edges and of
features; `runners` says which a level has. Sets of nodes share what they have in common: `shared_runs` goes through the
layers, `layer_halves` says what attention and MLP of one add.

To add a level of circuits: one file with a class that has the functions of `Runner`, and one branch in runners.py that
chooses it.
"""
