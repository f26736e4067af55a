"""How good is a circuit, by intervention?

`evaluation` is the value; `faithfulness` measures it and looks for the smallest, and `none_smaller` says what was tried in vain; `ratio` has the ratio and its
intervals; `twins` draws random circuits; `minimality`, `hypotheses`, `areas` and `stability` ask more; `assessment`
is all of it; `truth` judges methods on known circuits, of `programs`, by `roc`.

To add a measure: one file with its function and its value (a `Saved`); a field of `Assessment` and one line of
`assess` in assessment.py; for users, one line in `circuits/__init__.pyi`.
"""
