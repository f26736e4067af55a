"""How is a model run with everything outside a set of parts ablated?

`runner` is the one interface, for nodes and edges; `edge_runner` and `feature_runner` are those of edges and of
features.

To add a level of circuits: one class with the functions of `Runner`, and one branch in runner.py that chooses it.
"""
