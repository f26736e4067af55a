"""How does a name, a folder or a live model become a `HookedModel`?

`load` is the way in, without pickles, remote code or unasked network; `source` looks at the files before anything opens
them, `quantised` refuses weights that a library has packed. `pretrained` has transformers read them: `classes` finds the class that
a configuration names, `fit` holds it to every weight and to its numbers. `processors` reads what makes inputs of text, images and sound.
`gguf_header` reads what a GGUF file holds; `gguf_files` makes a model of it, `gguf_keys` its configuration, `gguf_tokenizer` its
tokeniser. `adapters` merges those that peft saved. `transformer_lens_files` reads weights in the layout of TransformerLens;
`transformer_lens_model` is the model that they go into.

To add a kind of source: one file that makes a Hugging Face model of it, and one branch in load.py that knows it by
its files.
"""
