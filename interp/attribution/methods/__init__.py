"""How does each method score?

`node_methods` has gradients, relevance and paths, and reads like the formulas; `net_methods` LRP for nets without blocks; `edge_methods` the same for edges;
`node_patching` is exact patching of both; `edge_patching` is ACDC; `flow_routes` needs no gradient; `atp_star`
repairs attribution patching; `mask_methods` search in runs with most parts replaced.

To add a method: one function under `@method(...)`, `@edge_method(...)`, `@joint_method(...)` or `@masked_method(...)` in the file of
its kind; a new file is one more name in the import below. Whoever looks a method up imports this room, so that all are
there. See docs/extending/method.md.
"""

from interp.attribution.methods import (
    atp_star,
    edge_methods,
    edge_patching,
    flow_routes,
    mask_methods,
    net_methods,
    node_methods,
    node_patching,
)
from interp.attribution.protocol.registry import (
    METHODS,
    edge_method,
    get_method,
    joint_method,
    masked_method,
    method,
    methods,
)

__all__ = [
    "METHODS",
    "atp_star",
    "edge_method",
    "edge_methods",
    "edge_patching",
    "flow_routes",
    "get_method",
    "joint_method",
    "mask_methods",
    "masked_method",
    "method",
    "methods",
    "net_methods",
    "node_methods",
    "node_patching",
]
