"""What is left of a run when it is over?

`record` is everything that it found; `directory` writes and reads it; `model_facts` is what a manifest says of a model;
`finding` says what was found in a sentence, with what `worth` says of the costs; `naming` says what its parts are called.

To keep another result: a field of `Record` with a default, and its file in `save_record` and `load_record` of
directory.py; folders of before must still load.
"""
