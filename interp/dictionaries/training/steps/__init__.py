"""What is one step of training a dictionary, for each architecture?

`options` lists the architectures and what can be set; `learner` is one dictionary in training; `step` is what it asks
for; `dense` and `sparse` find gradients by hand, on `entries`; `peer` by the classes of sae-lens; `schedules` has
rates by step; `finish` makes a dictionary of the weights.

To add an architecture: its options, one line of `ARCHITECTURES` in options.py, and its losses, one line of `_CLASSES`
in peer.py, or a `Step` of its own chosen in learner.py. See docs/extending/dictionary.md.
"""
