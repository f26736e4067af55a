"""How does each method score?"""

from interp.attribution.methods import (
    atp_star,
    edge_methods,
    edge_patching,
    flow_routes,
    node_methods,
    node_patching,
)
from interp.attribution.protocol.registry import METHODS, get_method, methods

__all__ = [
    "METHODS",
    "atp_star",
    "edge_methods",
    "edge_patching",
    "flow_routes",
    "get_method",
    "methods",
    "node_methods",
    "node_patching",
]
