"""`python -m circuits`: the command line."""

from circuits.cli.app import main

main()
