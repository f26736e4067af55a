"""How are activations of a corpus kept on disk?

`collect` runs the model over a data set and writes shards; `collection` is the format: reading, writing, the index.

Nothing is registered here. Another format would be another file beside collection.py; what is read of the model is an
argument of `collect`.
"""
