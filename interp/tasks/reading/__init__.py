"""How do the texts of a pair become token ids, and what is an answer there?

`answers` reads prompts and the token, or the tokens, that stand behind them; `readings` reads those of other models, at a mask or as a
class; `chats` writes messages by a tokeniser's template.

To read the answers of another kind of output: a `Reading` in readings.py, and its line in `reading_of`.
"""
