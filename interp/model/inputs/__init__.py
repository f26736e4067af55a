"""What is a model given, as which arguments does its forward take it, and what do its outputs say?

`taking` checks what a run is given, tokens or other inputs, also from `input_files`, and makes arguments of it; `encoding` runs an encoder alone;
`sources` makes inputs of texts for models that take several; `position_naming` says what the positions of a stream are called, and how many there are; `answering` what
outputs mean in tasks, and which of them are read; `similarity` is what a sentence encoder is measured by.

To take another kind of file: its ending and a function in input_files.py. To name other positions: a branch in `names_of` of position_naming.py.
"""
