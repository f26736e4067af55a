"""Which operation of a model has which rule?

`coverage` recognises what each module computes on the probe, and names the treatment of each operation under a rule set; `experts` tries MLPs
that have no single activation.

To name another operation: `recognise` in coverage.py. See docs/extending/rule.md.
"""
