"""Do all examples of a task go through the model the same way?

`mechanisms` is the answer, a value: which examples belong together, and how sure that is; `example_groups` makes groups of rows of
scores and says how good they are; `shared_traits` says what the prompts of a group have in common.

To add a trait of prompts: one line of `_traits` in shared_traits.py. Another way to group is a function beside those of example_groups.py.
"""
