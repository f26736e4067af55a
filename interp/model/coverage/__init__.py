"""Which operation of a model has which rule?

`coverage` recognises what each module computes on the probe, and names the treatment of each operation under a rule set; `experts` tries MLPs
that have no single activation; `backward` says whether gradients go through every module.

To name another operation: `recognise` in coverage.py. See docs/extending/rule.md.
"""
