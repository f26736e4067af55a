"""What does a command say, while it works and at the end?

`phases` tells how far it is, on standard error; `printing` writes tables, sentences and JSON, on standard output, and `run_results` with these
what a run found; `streams` has both take every character, whatever their encoding.

To print another result of a run: one function in run_results.py; of another command, a table or sentence of printing.py in its job.
"""
