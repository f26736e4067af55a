"""How do a dictionary and its training look as a page?

`dashboard_page` is the report of a dictionary; `training_page` that of a training.

To add a part of either: one key in `payload` of its file, and its place in the template (dictionary.html.j2,
training.html.j2).
"""
