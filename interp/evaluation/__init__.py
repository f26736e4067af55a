"""How good is an attribution to tokens, words, patches or frames?

`evaluate_tokens` is where to begin: it checks what is asked, and `token_judge` runs every measure on every pair; `judged_values` is what is judged, named methods or values from anywhere, and
`mixing` runs a prompt with some of its groups replaced. The measures: `removal_curves` are deletion, insertion and what follows from them, `infidelity`
compares values with what replacing does, `reruns` runs the method again near the prompt and on a model of shuffled weights, `token_truth` asks for what is known. `token_evaluation` is
the value that comes out.

To add a measure: its function in the file of its kind, one line of `MEASURES` in token_evaluation.py, and its call in token_judge.py.
"""
