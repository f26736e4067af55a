"""How are the parts of a model scored: what do users call?

`request` is where to begin: it has what is asked for checked and scored; `token_attribution` scores input tokens, by `token_request` and the registry in `token_methods`,
and `captum_function` hands the same function to any class of captum; `pair_attribution` scores tokens of one text with those of another, by `embedding_paths`;
`path_patching` patches paths, by `path_runs`, into
`path_effects`; `feature_edges` scores edges between features; `masked_run` is a model with a mask over its parts,
to be differentiated.

To add a method of tokens: one function in `tokens` and one line of `METHODS` in token_methods.py. A new kind of scoring is one
file here and one line in `interp/__init__.pyi`; what it shares with others goes into the rooms below.
"""
