"""What came out of an attribution, how well does it agree with the truth, and what may be said of it?

`per_example` is what has a mean over the examples; `scores` is such a value, with its `provenance`; `agreement` compares
it with exact patching; `resampling` has the intervals and correlations of all comparisons, `roc` the curves of rankings; `certificate` says what a search may claim; `trail` keeps what the search tried; `wording` names
scores that are neither.

To add a fact about scores: a field of `Provenance` in provenance.py with a default, so that files of before still load. A new
comparison of two scores is a file of its own here.
"""
