"""How does method `auto` find the top and prove that it did?

`verified` is the method on a model; `calibration` chooses an estimate for each kind; `search` spends exact patches
where they matter, and knows no model; `budget` counts what is spent.

Nothing is registered here. To let `auto` try another estimate: its name in `PRESETS` of verified.py. What a search
may claim is in `interp.scores.certificate`.
"""
