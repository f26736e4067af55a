"""How does what was found become a page or a picture?

`pages` renders every page, and is where to begin; `payload` turns a record into plain data; `picture` saves any value
as a file; `standalone` makes SVG with its own style; `browser` makes PNG of it.

To add a section to the report of a run: see `circuits.report.sections`. To add a page: one function in pages.py and
its template. To add a picture of a class: one function in standalone.py and its line in picture.py.
"""
