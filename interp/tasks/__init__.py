"""What is asked of a model: which prompts, which answers, measured how, and what replaces a part?

`task` is a named set of pairs (the room `interp/tasks/pairs/`); `find` takes what the user has; `builtin` generates pairs,
from `word_lists`, by `pieces`, which also makes chats of them; `years` tells how a tokeniser writes those; `task_files` makes one of a file (the room `interp/tasks/files/`);
`lengths` groups and keeps prompts of one length. `metric` says what becomes a number of logits, `metrics` names the formulas, and `targets` are what they
measure against. `ablations` names what a part may be replaced by, and `replacements` makes it for a set of pairs, from their `clean_prompts` where
it is fixed.

To add a task: one function under `@generator(...)` in builtin.py. To add a metric: one entry of `METRICS` in
metrics.py. To add an ablation: one function under `@ablation(...)` in ablations.py. See docs/extending/.
"""
