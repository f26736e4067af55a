"""Edges: what writes, what reads, the gradient at every reader in one backward pass, and runs with edges patched."""
