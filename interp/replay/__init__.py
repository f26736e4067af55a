"""Replay: a run is redone from the layer and the position that a patch changes, and only as far as the metric looks."""
