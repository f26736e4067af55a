"""Where do the activations of a training come from?

`reading` takes what the caller gives; `documents` numbers it; `rows` cuts it to the context; `chunks` runs the model;
`cache` keeps activations on disk; `buffer` shuffles them.

To add a kind of source: one class with the functions of the others in documents.py, and one branch in reading.py that
knows it.
"""
