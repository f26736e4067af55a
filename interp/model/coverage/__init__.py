"""Which operation of a model has which rule?

`operations` recognises what each module computes on the probe, and `experts` tries MLPs that have no single activation; `treatments` says what
a rule set does to each operation, `coverage` is the table of that, and `attaching` does it, for one run; `backward` says whether gradients go
through every module.

To name another operation: `recognise` in operations.py, and its row in treatments.py. See docs/extending/rule.md.
"""
