"""What do recurrent layers hold at each step, and where do their states come to rest?

`states` reads the states of every layer and step and edits them, alone or inside a net; `fixed_points` finds where a cell's state stays, and how
it moves around that. The steps are those of `interp.model.layers.unrolling`.

To take another cell: recurrent_cells.py there.
"""

from interp.recurrent.fixed_points import FixedPoints, fixed_points
from interp.recurrent.states import RecurrentStates, StateEdit, states

__all__ = ["FixedPoints", "RecurrentStates", "StateEdit", "fixed_points", "states"]
