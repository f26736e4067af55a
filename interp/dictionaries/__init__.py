"""Sparse dictionaries of what is in a model: autoencoders and transcoders, loaded, trained, spliced in, evaluated."""
