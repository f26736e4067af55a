"""How is a dictionary trained: what do users call?

`train_dictionaries` goes from a model and data to dictionaries, with a folder to go on from.

Nothing is registered here: an architecture is added in `steps/`, a source of text in `data/`, a setting in `loop/`;
`checkpoints/` keeps what a killed run needs.
"""
