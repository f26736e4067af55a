"""How does a training survive being killed?

`checkpoint` writes and reads whole checkpoints; `folder` says how a run stands; `identity` says what a run must have
in common with its checkpoint.

Nothing is added by users. A setting that changes the numbers belongs into identity.py, so that a run with another
value does not go on from it.
"""
