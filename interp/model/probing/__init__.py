"""What does one short forward pass tell of a model?

`probe` watches it; `layout_probe` reads the layout off it; `coverage` names the rule of each operation; `backward` says
whether gradients go through every module.

To place a part of a block that is found in no model yet: the function of `layout_probe` that places its kind, with an equation
that is checked on the probe. To name another operation: `recognise` in coverage.py. See docs/extending/architecture.md.
"""
