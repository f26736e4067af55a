"""What is a pair of prompts, and how does it become what is run?

`pairs` is a pair as it is given, as text or as chats, and `input_pairs` one of images or sound; `token_pairs` is the same as it is run, token
ids or inputs; `tokenizing` makes that of a pair with a model's tokeniser, and `pair_checks` says whether it can be run and scored;
`halves` says which pairs are the same, and keeps them together in a split.

To add a rule that pairs must keep: one function of pair_checks.py, called in `check_pair`.
"""
