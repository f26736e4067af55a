"""How does each method score what an input is made of: its tokens, words, patches or frames?

`entrance` says where tokens enter a model; `token_job` is a method, and the runs of one batch that all methods share; `token_gradients` and `token_perturbations` are the methods, `draws`
the random numbers of some; `token_features` makes groups of positions, `patch_masks` those of an image's patches; `token_targets` puts a text in the place of the answers;
`token_values` is what comes out.

To add a method of tokens: one function in the file of its kind and one line of `METHODS` in `interp/attribution/token_methods.py`. To add a
way of grouping positions: one function and one line of `NAMED` in token_features.py.
"""
