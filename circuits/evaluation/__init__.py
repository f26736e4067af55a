"""How good is a circuit, by intervention?

`evaluation` is the value; `faithfulness` measures it, `smallest` looks for the first top that is faithful, and `none_smaller` says what was tried in vain; `other_ablation` measures it under a second
ablation; `ratio` has the ratio and its intervals; `twins` draws random circuits; `minimality`, `hypotheses`, `areas`
(`area_values`) and `stability` ask more; `assessment` is all of it.

To add a measure: one file with its function and its value (a `Saved`); a field of `Assessment` and one line of
`assess` in assessment.py; for users, one line in `circuits/__init__.pyi`.
"""
