"""The commands of the command line, by what they are for; `circuits.cli` puts them together."""
