"""What do recurrent layers hold at each step, and where do their states come to rest?

`unrolled` computes one step of torch's LSTM, GRU and RNN from their own weights; `states` reads the states of every layer and step and edits
them, alone or inside a net; `fixed_points` finds where a cell's state stays, and how it moves around that.

To take another cell: its step and how its weights are called, in unrolled.py.
"""

from interp.recurrent.fixed_points import FixedPoints, fixed_points
from interp.recurrent.states import RecurrentStates, StateEdit, states

__all__ = ["FixedPoints", "RecurrentStates", "StateEdit", "fixed_points", "states"]
