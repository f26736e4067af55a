"""Which commands are there, and what does each take?

`discovery_commands` is the main one, to read first; `judging_commands`, `diff_command`, `exchange_commands`, `reproduce_command`, `tokens_command`,
`looking_commands`, `sae_train_command`, `sae_eval_command`, `starting_commands` and `listing_commands` are the others.

To add a command: one function of its value of options (`circuits.settings`) under `@command(...)`, whose body is one call
of a job, in a file here; one line of `_COMMANDS` in `circuits.cli.app`. Its place in --help is its name in `COMMANDS` of
`circuits.cli.options.help_sections`.
"""
