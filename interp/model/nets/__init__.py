"""How does a net without a chain of blocks become a model that can be run, read and edited?

`net` is what users hold: a hooked model whose layout has no stack; `example_inputs` finds an input that it takes; `net_layout` watches one forward on
it: which modules are called, what each computes, and in which form the input is read, whose places `net_places` names.

To know another layer: `interp.model.layers`. To try another size of input where none is given: a line of example_inputs.py. Its levels of
attribution are in `interp.attribution.net_levels`.
"""
