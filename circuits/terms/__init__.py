"""What are kinds, metrics and tasks called in sentences?

`words` has the names of kinds of nodes and edges, of metrics and of tasks, in singular and plural.

To name a new kind, metric or task: one line of its table in words.py. What has no line is called by its own name.
"""
