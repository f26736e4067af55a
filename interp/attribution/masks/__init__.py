"""How does a model run with each part kept to a degree, and what is the slope of that?

`masked` is a mask over all parts of a level on all pairs, and the way in; `masked_edges` is one run with a mask over edges, of which `mixture` is
the state, `tape` the marks on autograd's tape, `stream_writes` what writers tell it, `stream_reads` and `attention_reads` what
readers get from it, and `copies` the streams that they then see; `masked_nodes` is one with a mask over nodes, at the `node_places` of
their values;
`searches` look for circuits on such runs, and `orders` learn one order for circuits of every size.

To add a search: a function of `Search` in searches.py, and a method of it in `interp.attribution.methods.mask_methods`.
"""
