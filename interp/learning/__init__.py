"""How is a constant learned that replaces a part with the least harm?

`optimal` learns the constants of optimal ablation by gradient descent. It knows no level: whoever asks says how the model is run
with parts at constants.

To add another loss: one function in optimal.py, and a `Kind` with it in `interp/tasks/ablations.py`. See docs/extending/ablation.md.
"""
