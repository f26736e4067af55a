"""What does a command say, while it works and at the end?

`phases` tells how far it is, on standard error; `printing` writes tables, sentences and JSON, on standard output;
`streams` has both take every character, whatever their encoding.

To print another result: one function in printing.py; the job calls it.
"""
