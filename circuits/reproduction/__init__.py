"""Which tables of papers can be made again, on any model, and what did the papers print?

`papers` lists them; `relp` is one; `paper` says what each must say: what is scored on which task, and the figures as printed;
`measuring` scores it on a model; `reproduced` is what comes out; `verdicts` says in sentences what holds of it.

To add a paper: one file with its `Paper`, and one line of `PAPERS` in papers.py. To write down another printed figure: one entry
of the `Printed` of its model, with the page that it is read from; a figure that nobody has read stands nowhere.
"""
