"""What is left of a run when it is over?

`record` is everything that it found; `record_files` writes and reads it, in a run's `directory`, whose manifest says what it was `made_with`; `finding` says it in a sentence, with what `worth`
says of the costs and `agreeing` of how sure a method is; `looked` is what a look inside a model found; `judged` says what was measured of a circuit besides; `naming` says what its parts are called, `rule_use` what the rules of its methods do in its model, `model_files` which files the model's weights are from and
what was done to them.

To keep another result: a field of `Record` with a default, and its file in `save_record` and `load_record` of
record_files.py; folders of before must still load.
"""
