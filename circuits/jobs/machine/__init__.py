"""What is there, does it work here, and what does it cost: the jobs of the commands that look?

`listings` says which models, tasks, methods and sites there are; `doctor` diagnoses what is installed, `verify` checks all
that must hold on a model; `bench` measures, by `circuits.bench`.

To add one: one file with a function that looks and says what it found; its command calls it (`circuits.cli.commands`).
"""
