"""How do two runs or circuits compare?

`matching` puts two side by side and says what may be compared; `sides` is the value.

To compare something more: a field of `SideBySide` in sides.py, filled in matching.py, with a reason where it is not
compared.
"""
