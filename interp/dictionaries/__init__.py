"""What is a sparse dictionary, how is it read from files, and what does it do in a run?

`activation` makes features sparse; `dictionary` is the value; `splice` puts it into a run; `storage` reads and writes
folders; `saelens` and `foreign` know the formats; `weights` takes tensors out one by one; `places` tells which site a
stored one belongs to.

To add an activation: one class in activation.py. To add an architecture of dictionary_learning: a reader in
foreign.py and its line in `_CLASSES` there. See docs/extending/dictionary.md. Training and evaluation are rooms of
their own above: `training/`, `evaluation/`.
"""
