"""Which prompts run together, at which positions, along which points of a path?

`batches` holds the runs that the methods of a batch share, `batch_sizes` says how many prompts are one; `positions` says what a label means in each prompt;
`quadrature` has the points and weights between two runs.

To add a quadrature: one function and one line of `QUADRATURES` in quadrature.py. To add a way to label positions: a
branch in `align` and its name in `POSITIONS` of positions.py.
"""
