"""How do two runs look side by side?

`side` is the page as plain data; `side_graph` draws both circuits alike; `side_figures` has the charts of two.

To add a part of this page: one key in `payload` of side.py and its place in the template side.html.j2.
"""
