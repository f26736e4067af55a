"""What can be set for a run, and is it right before any work begins?

`run_options` has the options of discover and compare, and those that several commands share; `judging_options`,
`dictionary_options`, `looking_options`, `machine_options`, `exchange_options`, `reproduction_options` and `token_options` those of the others. Each is a field of a frozen value, which
the command line fills and the job takes. `held_out` says which pairs are scored and which evaluated;
`prepared` has the options checked, and the job that is ready to run.

To add an option: a field `option(default, help, ...)` of the value of its commands here, or in
`interp.attribution.asking.request_options` where a request for scores has it too; a check of it in prepared.py. The command line, files
of options and --help then have it; its place in --help is its name in `OPTIONS` of `circuits.cli.options.help_sections`.
"""
