"""How does a look inside a model appear as a page?

`looked_page` turns what was found into plain data and pictures; `line_chart` draws lines over the same places.

To add a kind of figure: its value in circuits/runs/looked.py, and its lines in `drawing` of looked_page.py.
"""
