"""How is plain data drawn as SVG, and where does everything stand?

`svg` has elements, scales and axes; `figures` and `dashboard_figures` are charts; `layered`, `feature_boxes` and
`box_places` place boxes, in the rows of `row_heights`; `shared_groups` finds shared keys; `curves` makes the curve of every arrow and `routes` leads
arrows of the view past boxes; `edge_drawing` and `view_picture` draw circuits; `pattern_drawing` draws attention, `input_drawing` inputs that are no text.

To add a chart: one function of plain data that returns markup, in a file of its own or beside its kin; templates call
it by its name in `circuits.report.page.page`. No value of the toolkit comes in here but parts and their names.
"""
