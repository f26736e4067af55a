"""How is text made safe, a number written, a value shown, without knowing any class of the toolkit?

`text` makes what comes from outside safe to show; `numbers` writes numbers, shares and plurals; `html` makes small
tables and bars; `self_contained` makes pages that load nothing; `showing` has the generic functions that show any value; `plain` turns values into plain data and back;
`parquet` writes it into the header of a file; `guarded` is the guard around every file that is read; `table` is the base of values that are tables.

To add a way of writing: one function in the file of its kind, with its law in the tests of this room. To show a
class, register it in a display room (`@showing.card.register`), never here. To make a value a table: `table.Table` as its base.
"""
