"""How does plain data become one HTML file that needs nothing else?

`page` fills templates and puts styles and scripts in, each named by its hash. Folders: templates/, styles/, scripts/,
vendor/.

To add a template, style or script: its file in the folder of its kind; the page that uses it names it in
`circuits.report.pages`. A function that templates call is one line in page.py.
"""
