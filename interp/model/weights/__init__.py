"""Can the weights of a live model be used at all?

`soundness` refuses a model whose weights are offloaded, never loaded, closed to gradients or not numbers, and one that
is in training mode in whole or in part.

To add a check: one function in soundness.py that raises a LoadError naming the weights and what to do, and a line of
`check_model`.
"""
