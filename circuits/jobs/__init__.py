"""What does each command do, once its options are read?

`inputs` is what a job is about, by the names that a command was given; `discovery` is discover, compare and report,
by `pipeline`; `assessing` is evaluate, of `subjects`, `judging` stability and truth, `resplitting` stability on other splits; `transferring` circuits on other tasks; `reproduction` reproduce; `token_scoring` tokens;
`side_by_side` diff; `exchange` files of others; `starting` and
`opening` the first and last step. What looks at the toolkit and the machine is in circuits/jobs/machine, sae in circuits/jobs/dictionaries, what looks inside a model in circuits/jobs/looking.

To add a job: one file with a function of a value of options (`circuits.settings`) that calls the rooms below, writes and
prints. Its command calls it (`circuits.cli.commands`); no job knows a command.
"""
