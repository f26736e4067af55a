"""`python -m circuits`: the command line."""

from circuits.cli import main

main()
