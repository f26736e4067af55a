"""What is a dictionary worth, and what do its features look like?

`evaluate` measures, on `evaluated_text`; `fidelity` and `damage` are the measures, `measured` the value; `dashboards`
shows features, from `dashboard_stream` and `dashboard_examples`, as `dashboard_values`; `feature_directions` reads
the weights; `probing` asks features about labelled texts with the classifier of interp/probes.

To add a measure: its mathematics in a file of its own, a field with a default in measured.py, and one line in
evaluate.py that fills it.
"""
