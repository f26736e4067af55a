"""How are live modules reached, used, and left as they were?

`soundness` says whether their weights can be used at all, and `repeats` whether their runs are alike; `calling` says with which arguments they are called; `paths` knows them by their paths; `tensors` and `linear` find tensors and weights in them;
`attention` is the one attention function; `standing_in` lets a run go on from the middle; `lock` lets threads take turns; `undo` takes changes back;
`batch_norms` puts their gradients in order.

To refuse another kind of weights: one check in soundness.py, called by `check_model` there. Nothing here knows what a run or a
site is.
"""
