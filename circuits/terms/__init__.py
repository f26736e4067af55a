"""What are things called, in sentences and by their names?

`kinds` checks what public functions are given, and says how a user comes by it; `words` has the names of kinds of nodes and edges, of metrics and of tasks, in singular and plural; `names` repeats what the
registries hold, for whoever cannot wait until they are imported, and `python docs/generate.py` writes it.

To name a new kind, metric or task in sentences: one line of its table in words.py. What has no line is called by its own name.
"""
