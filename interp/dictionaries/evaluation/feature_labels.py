"""Labelled texts by the name that they had when only dictionaries were probed; they are in `interp.probes.labelled_texts`."""

from interp.probes.labelled_texts import Labelled, halves, labelled, read_labels

__all__ = ["Labelled", "halves", "labelled", "read_labels"]
