"""Which single parts write the answer, by how much, and from which source tokens?

`answer_ends` runs a task and keeps what is where the answer is read. `neuron_effects` ranks neurons by a measure (of
interp/lenses/effect_measures.py): `written` has what they write, `ranking` their order, `neuron_table` the value; `neuron_check` zeroes the first of them,
since no ranking is believed without. `last_block` has the answer before and after each half of the last block, `mlp_response` how an MLP answers to the heads
before it. `feature_sources` says where what a feature of attention reads comes from: `splits` of what `source_runs` reads, as
`source_table` has it, with what the sources have in common.

To add a measure or a split: one entry in its registry. How values show themselves is registered in `interp.display.looking`.
"""
