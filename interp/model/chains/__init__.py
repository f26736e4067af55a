"""How are the blocks of a model called in another order, or several times?

`chains` has chains of layers as values, and says which sites they leave; `chained` is what stands where the blocks are while such a run lasts, and calls
them; `chain_runs` finds out what blocks return, and whether they can be called again.

To add a move: one function in chains.py that returns a `Move`, and what it does in `moved`.
"""
