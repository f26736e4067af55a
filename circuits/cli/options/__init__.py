"""How do values of options become what can be typed: commands, files of options, names to complete, --help?

`commands_of_values` makes a command of a frozen value of options and a function of it; `configuration` reads such values
from TOML; `training_options` puts those of sae train together; `help_sections` lays out --help; `completing` has what the
shell completes and --help lists.

To add an option: a field of a value in `circuits.settings`, and its place in --help, its name in `OPTIONS` of
help_sections.py. To let one complete other names: one line of `NAMES` in completing.py, whose word is its `among=`.
"""
