"""How does one run of a live model happen, with reads, edits and rules?

`model` is what users hold, and run; `held` is what is known of it; `run_checks` refuses options of a run, `plan` says what it does, `run` carries it out and `result` is what comes back; `edits` are interventions as values; `operands` keeps what a run reads, so that another can be averaged toward it;
`vocabulary` computes few logits only; `multiply_adds` says what a run costs
and `origin` what a model was made of; `steering` generates under edits, `writing` behind an encoder;
`architectures` lists the tested ones.

To add an edit: one function in edits.py that returns an `Edit`. To list an architecture as tested: its name in
`TESTED` of architectures.py and a tiny configuration in the tests. See docs/extending/architecture.md.
"""
