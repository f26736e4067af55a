"""What do the parts of a circuit do?

`anatomy` is the value; `closeups` measures it, with `closeups_examples` for single prompts and `closeups_edges` for
edges; `overview` has what a run shows besides; `prompts` is a pair as shown; `exact_check` patches exactly;
`feature_study` looks at features.

To add a view of the parts: its value in anatomy.py, one function that measures it, and one line in `look_closely` of
closeups.py. How it looks is a section of `circuits.report`.
"""
