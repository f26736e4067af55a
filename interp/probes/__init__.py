"""What can be read from a place of the model by a linear classifier, and what is left when that is taken away?

`labelled_texts` are checked and split in halves, `reads` is what the model has there; `classifier` and `probe_fits` are the mathematics of a probe, `selections` which
columns it may use, `probe_measures` how good it is; `probe_sites` asks with all baselines and gives the value of `probes`. `erasers` are the formulas that take a label away,
`subspace` the value that they give, `erase` finds and judges one, and `circles` finds labels that lie on a circle.

To add a kind of probe, a selection or an eraser: one function in probe_fits.py, selections.py or erasers.py and one entry of its registry there.
"""
