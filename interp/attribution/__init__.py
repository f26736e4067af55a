"""Node attribution: the methods, and the one driver that batches, averages and accumulates."""

from interp.attribution.registry import METHODS, Method, methods
from interp.attribution.request import attribute, attribute_all, prepare

__all__ = ["METHODS", "Method", "attribute", "attribute_all", "methods", "prepare"]
