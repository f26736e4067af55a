"""The classifier of probes by the name that it had when only dictionaries were probed; it is in `interp.probes.classifier`."""

from interp.probes.classifier import Classifier, Interval, Quality, fit, mean_difference, quality

__all__ = ["Classifier", "Interval", "Quality", "fit", "mean_difference", "quality"]
