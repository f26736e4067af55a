"""What does each section of a report say, as plain data?

`context` has prompts, conventions, manifest; `faithfulness_section`, `area_curves` and `assessed` say how good a
circuit is; `agreements` and `search_section` how sure scores are; `maps` and `map_numbers` show them, `signs` whether
a sign says anything; `edges_section`, `features_section` and `anatomy_section` show parts; `pictures_section` has inputs that are no text, with numbers over them; `paper_table` is of the
page of a paper's table.

To add a section: one file with a function of a `Record` that returns plain data, or None where there is nothing to
show; one line in `payload` of `circuits.report.payload`; its template and an include in report.html.j2
(`circuits/report/page/templates/`).
"""
