"""What can be pointed at: sites, nodes, edges, tokens, and where is it in a model?

`sites` names every place of a forward pass; `block_layout` says which modules of a live model one block is made of, `stack_layout` what a chain
of them is, `layout` what the model is as a whole; `ports` says how a site is reached there; `outputs` says what comes out of it, `ending` where a run is over that
measures a site; `nodes` has
the parts that are scored; `graph` what one part reads of another;
`texts` turns a text into ids and an id into its text; `tokens` makes batches of them, of all that users have; `named_inputs` are
those that are no text alone, such as images and sound, and `forms` says how they are configured; `text_pairs` are two texts as one.

To add a site: how it is reached, one line of `_BLOCK_PORTS` in ports.py, and its name in `LAYERED` of sites.py, in
forward order. To add a kind of node: one entry of `VIEWS` in nodes.py and its name in a level of `LEVELS`. See
docs/extending/node-kind.md.
"""
