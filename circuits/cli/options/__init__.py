"""What can be typed: options, files of options, names to complete, --help?

`shared_options` are the options that several commands take; `configuration` reads them from TOML; `training_options`
are those of sae train; `help_sections` lays out --help; `completing` has names for the shell.

To add an option that several commands share: one type in shared_options.py; its place in --help is its name in
`OPTIONS` of help_sections.py. Names of registries come from `circuits/terms/names.py`, which `python docs/generate.py` writes.
"""
