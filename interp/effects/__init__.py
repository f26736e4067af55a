"""Which single parts write the answer, by how much, and from which source tokens?

`ends` runs a task and keeps what is at the place that the answer is read at; `measures` says of the stream with and without a part what it did
to the answer, in logits and in log-probability (`MEASURES`); `neuron_effects` ranks neurons by a measure (`written` has what they write, `ranking` their order, `neuron_table` the value), and `neuron_check` zeroes the first of
them, since no ranking is believed without; `last_block` has the answer before and after each half of the last block; `mlp_response`
asks how an MLP answers to the heads before it. `sources` says where what a feature of attention reads comes from (`source_runs`, `source_table`), by `splits` (`SPLITS`),
and what its sources have in common.

To add a measure or a split: one entry in its registry. How values show themselves is registered in `interp.display`.
"""
