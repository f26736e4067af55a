"""How are all methods of a request driven, and does it fit into memory?

`driver` runs every batch through every method and collects the scores; `memory` estimates what that takes and chooses
the batch size.

Nothing is added by users: methods come from the registry, levels from `interp.attribution.protocol`.
"""
