"""What may a command cost, before it and after it?

`bounds` is what every plan is: forwards by phase, and what was spent of them. `circuit_batches` says what runs of circuits are of, `circuit_runs` bounds them, as the
runners of `circuits.evaluation.running` make them; `scoring` the methods of a request, with `mask_costs` those on masks. Of these `run_costs` makes the phases of discover and
compare, at level features with `feature_costs`, and `run_bounds` their plan; `default_method` names the method of a run by
it; `assessment_bounds` that of evaluate, `table_bounds` that of
reproduce.

To add the plan of a command: a file with a function that gives `Bounds`; its job says them before the work, refuses by `within`
what cannot be kept, and counts by `interp.ledger`. A bound holds for any input: a test compares it with what the ledger says.
"""
