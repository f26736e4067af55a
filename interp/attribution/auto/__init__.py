"""How does method `auto` find the top and prove that it did?

`verified` is the method on a model; `blend` makes one estimate of all presets, and `calibration` draws the sample and judges
each preset by it; `search` spends exact patches where they matter, and knows no model; `board` holds what it knows so far;
`budget` counts what is spent, and asks before each call what it will cost; `prices` answers, from the layers that exact
patching will redo.

Nothing is registered here. To let `auto` try another estimate: its name in `PRESETS` of verified.py. To give a search
less: a smaller `budget` in its `plan`. All that it ranks is of one direction, that of its request. What a search may
claim is in `interp.scores.certificate`.
"""
