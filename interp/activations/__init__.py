"""How do activations of a corpus become files, or what is true of them?

`walking` takes a corpus through a model; `collect` writes what it sees as shards, and `collection` is their format: reading, writing, the index.
`summarise` adds up statistics on the way, and `summary` is what they say, a value and a file.

Nothing is registered here. Another format would be another file beside collection.py; what is read of the model is an
argument of `collect`. Statistics are registered in interp/statistics.
"""
