"""How does one run of a live model happen, with reads, edits and rules?

`model` is what users hold; `plan` says what one run does; `run` carries it out; `edits` are interventions as values;
`attention` is the one attention function; `probe` watches a short forward; `coverage` names the rule of each module;
`vocabulary` computes few logits only; `steering` generates under edits; `lock` lets threads take turns; `undo` takes changes back; `tensors` and
`linear` find tensors and weights in modules; `architectures` lists the tested ones.

To add an edit: one function in edits.py that returns an `Edit`. To list an architecture as tested: its name in
`TESTED` of architectures.py and a tiny configuration in the tests. See docs/extending/architecture.md.
"""
