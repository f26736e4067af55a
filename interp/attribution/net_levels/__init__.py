"""How are modules and channels of a net without blocks nodes like others?

`net_nodes` has the groups: what a module returns as one node, or each of its channels; `net_space` is the level, with its batches, whose values have
the modules' own shapes.

To let a method score these levels: `Method.scores`. Rule presets that are for nets alone are registered in
`interp.attribution.methods.net_methods`.
"""
