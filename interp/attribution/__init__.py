"""Node attribution: the methods, and the one driver that batches, averages and accumulates."""

from interp.attribution.driver import attribute, attribute_all, prepare
from interp.attribution.registry import METHODS, Method, methods

__all__ = ["METHODS", "Method", "attribute", "attribute_all", "methods", "prepare"]
