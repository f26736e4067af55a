"""Training dictionaries: text to token rows, rows to activations, a shuffled buffer, the loop, its checkpoints."""
