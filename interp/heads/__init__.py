"""Where do heads look, on one text and over many?

`patterns` has the weights of one prompt, and `words_of_tokens` makes words of its tokens; `looking` runs many texts, a few at a time;
`row_measures` says which keys each measure counts; `statistics` is the table of heads and measures, `distances` how differently any two heads
look, `clusters` the groups of them; `annotated` is a text with relations between its words, and `relations` finds the head that follows each.

To add a measure: the keys that it counts, in `keys_of` of row_measures.py, and a row of the table there. How values show themselves is
registered in `interp.display`.
"""
