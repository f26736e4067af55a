"""How does a typed line become a call, and its end an exit code?

`app` registers every command, runs it, and turns errors into one line and a code.

To add a command: one line of `_COMMANDS` in app.py; the command itself is a file in `circuits/cli/commands/`, what it
does a file in `circuits/jobs/`.
"""
