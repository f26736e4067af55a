"""How are features of dictionaries nodes like others?

`hosts` checks the dictionaries of a request; `feature_space` finds the features that are active, and is what the
driver asks; `groups` are the nodes of a dictionary; `listed` encodes only those; `changes` says what patching does to
them; `feature_batches` is one batch. For edges between features `feature_places` lists places, nodes and edges, and `feature_pulls` pulls
coefficients back from one place to those before it.

To let dictionaries stand at another site: its kind in `HOSTS` of hosts.py. An activation that looks at each feature
alone may be named in `_EACH_ALONE` of listed.py. See docs/extending/dictionary.md.
"""
