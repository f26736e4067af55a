"""What do norm, activation, gate and attention mean in the backward pass?

`surrogate` gives a forward value another backward pass; `nonlinear` sees, in a forward pass, what a rule set has to account
for; `rules` has the rule sets, what they do to each operation, and the presets, `activations` the functions that it knows,
`layer_rules` the rules of linear layers, `lrp` their presets; `secants` averages operations between two runs, `attention_secants` those of attention,
`max_pools` a maximum; `recurrences` is the arithmetic of recurrent layers; `mixtures` gives rules to experts, whose operations are calls of
functions (`function_calls`) and no modules.

To add a preset: a constant in `rules` and one line of `OWN` there, or in lrp.py and of `OF_NETS` there, for nets without blocks alone; a line in the first loop of
`interp.attribution.methods.node_methods` makes the former a method. To add an activation: one entry of `ACTIVATIONS`; a rule of linear layers: a
function and its line in `layer_rules`. See docs/extending/rule.md.
"""
