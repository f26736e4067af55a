"""What does the work cost, beside the plain model and beside others?

`workload` is what everything is measured on; `attribution_cost` and `exact_cost` measure scoring,
`mask_cost` runs with masks over edges; `peers` measures
the same in TransformerLens; `training_cost` a step of training; `scale` how time and memory grow.

To add a part: one file with a function that yields measurements, its name in `PARTS` and one branch in `_measure`,
both in `circuits.jobs.machine.bench`.
"""
