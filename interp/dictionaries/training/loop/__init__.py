"""How does a training run from its settings to its end?

`settings` checks what is wanted; `defaults` fills what is left open; `device_memory` says whether it fits; `ready`
has all of it checked; `loop` does the steps; `measures` looks at data that was held out; `status` says how it stands; `interrupt` waits for the end
of a step; `outcome` is what is written.

To add a setting of the run: a field of `Settings` in settings.py with its check. Options of one architecture belong
to `interp.dictionaries.training.steps`.
"""
