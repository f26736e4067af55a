"""How is a part patched exactly at the least cost?

`sweep` takes many patches through one replay, and is the way in; `machine` finds out whether a model can be
restarted; `recording` keeps a base run; `patches`, `node_patches` and `edge_patches` say how a part changes a layer;
`engine` redoes the rest with `modules`, `arguments` and `segments`; `readout` ends at the logits; `counts` counts the
work, and `forecast` says before it what it will be.

To make a new kind of node cheap to patch: one function in node_patches.py that says which recorded tensor it changes,
and its name in `REPLAYED`. Other kinds run whole forwards, with the same numbers.
"""
