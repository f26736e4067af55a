"""How does what is found inside a model, without a circuit, look in notebooks and figures?

`summary_views` shows statistics of activations, `probe_views` probes and subspaces.

To show a class: one function under `@showing.card.register` or `@showing.figure.register`, of that class; a new file is one more name in the import
below. Nothing imports this room: `interp/__init__.py` names it, and it is loaded when the first value is shown.
"""

from interp.display.looking import probe_views, summary_views

__all__ = ["probe_views", "summary_views"]
