"""Which layers does a net have besides attention and MLPs, and how does each compute?

`layer_kinds` knows torch's own modules that are linear, or take a maximum, and gives a convolution or dense layer as a function of its weights;
`recurrent_cells` computes one step of torch's LSTM, GRU and RNN from their own weights, `unrolling` all steps of a module,
`recurrent_rules` puts rules behind a module by its steps; `graph_readers` says, by torch's graph, which layer alone reads what another makes,
and which read the net's input.

To add a kind of module that is linear by its definition: its class in layer_kinds.py; another recurrent cell: its step and how its weights are
called, in recurrent_cells.py.
"""
