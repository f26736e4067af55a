"""How do two runs or circuits compare?

`matching` puts two side by side and says what may be compared; `sides` is the value. `resplits` is what circuits of one way to
find them share over splits of a task, `transfers` what circuits of several tasks are worth on each other's pairs.

To compare something more: a field of `SideBySide` in sides.py, filled in matching.py, with a reason where it is not
compared.
"""
