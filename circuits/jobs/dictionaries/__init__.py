"""What do the commands do that train and judge dictionaries?

`dictionary_training` is sae train, `dictionary_evaluation` sae eval.

To add a job on dictionaries: one file, as in `circuits/jobs/`; its command in circuits/cli/commands calls it.
"""
