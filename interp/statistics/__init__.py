"""What is true of many vectors, added up as they come?

`accumulator` says what every statistic can do: take tokens in batches of any size, be merged with another of its kind, say how much memory it takes,
and become tensors and come back; it holds the table of those that have a name. `moments` and `covariance` are exact sums; `sparsity` counts what is
active; `quantiles` is a histogram of fixed bins; `examples` keeps the largest values; `position_parts` takes streams apart into position and context;
`coactivations` counts what is active together.

To add a statistic: a subclass of `Accumulator` in a new file here that `accumulator` registers by one line of `_LIVES`.
"""
