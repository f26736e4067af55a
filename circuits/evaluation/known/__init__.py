"""Do methods find circuits that are known?

`programs` reads models that were compiled from programs, with the edges that they use; `truth` judges methods on them, by the curves of `interp.scores.roc`.

To add models whose circuit is known: what reads their files into a `Truth` goes into programs.py.
"""
