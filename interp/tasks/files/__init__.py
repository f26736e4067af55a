"""What stands in a task file, and which pair is a row of it?

`columns` says which columns are read; `file_rows` reads the bytes of a file as rows of them; `row_pairs` makes a pair of each.

To read another column: its name in columns.py, what becomes of it in row_pairs.py. To read another kind of file: one function of file_rows.py, and its line
in `READERS`.
"""
