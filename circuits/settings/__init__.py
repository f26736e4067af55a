"""What can be set for a run, and is it right before any work begins?

`prepared` has the options of a run, and the job that has been checked; `option` is one option of a TOML file.

To add an option of a run: a field of `Settings` with its check in prepared.py; the command that takes it names it in
its signature (`circuits.cli.commands`).
"""
