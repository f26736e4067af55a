"""What can be asked for, and how does it become a checked request?

`request_options` is what can be asked, each option once; `keywords` lets a function take them by name; `checks` refuses what needs no model
to be wrong; `planning` makes a checked request of the rest, with model, task and memory.

To add an option: one field of request_options.py, its check in checks.py, its way into the `Attribution` in `plan` of planning.py.
"""
