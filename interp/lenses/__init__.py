"""What does the model hold and write, read with its own output head?

`lens` is the logit lens, and `class_lens` that of a classifier; `direct` splits a logit among the components; `direct_effects` says what chosen nodes write, by
`effect_measures` of what `head_logits` makes of it;
`stream` has what they share, norms frozen; `second_order` says what neurons write through one later attention; `decoder_lens` lets a
decoder read each layer of its encoder.

To add a lens: one file with its function and its value, and one line in `interp/__init__.pyi`. How it shows itself is
registered in `interp.display`.
"""
