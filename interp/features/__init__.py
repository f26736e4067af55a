"""Features of dictionaries as nodes: which there are, what patching them changes, and how a batch scores and patches them."""
