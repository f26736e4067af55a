"""How are all methods of a request driven, and does it fit into memory?

`asked` is what all methods of a request have in common, and its provenance; `driver` runs every batch through every method and collects the scores; `together` is what methods are that need all batches at once;
`memory` estimates what all of it takes, by the streams of a run (`run_streams`), and chooses the batch size.

Nothing is added by users: methods come from the registry, levels from `interp.attribution.protocol`.
"""
