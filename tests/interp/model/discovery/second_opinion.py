"""What transformer-lens' adapters say of a model: names by a table of classes, where the engine finds places by watching."""

from __future__ import annotations

import warnings
from typing import Any

#: What an adapter says of each block, and once.
PARTS = ("path", "attn", "o", "mlp", "up", "down")
ENDS = ("ln_final", "unembed", "pos_embed")


def adapter(model: Any) -> dict[str, Any] | None:
    """The component mapping for the class of a model, or of one of its bases; None where there is none for a decoder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources.transformers import map_default_transformer_lens_config

        for cls in type(model).__mro__:
            try:
                config = TransformerBridgeConfig.from_dict(map_default_transformer_lens_config(model.config).__dict__)
                config.architecture = cls.__name__
                found = ArchitectureAdapterFactory.select_architecture_adapter(config)
                return dict(found.component_mapping or {})
            except Exception:  # whatever stops an adapter of somebody else
                continue
    return None


def opinion(model: Any) -> dict[str, Any] | None:
    """`PARTS` of every block under `blocks`, and `ENDS`, as paths; None where the adapter has no decoder of the usual parts, or
    names modules that the model has not."""
    try:
        parts = adapter(model) or {}
        stack = parts["blocks"]
        layers = range(len(list(model.get_submodule(stack.name).children())))
        found: dict[str, Any] = {name: getattr(parts.get(name), "name", None) for name in ENDS}
        found["blocks"] = [_block(f"{stack.name}.{layer}", stack.submodules) for layer in layers]
        for path in (
            found["ln_final"],
            found["unembed"],
            *(path for block in found["blocks"] for path in block.values()),
        ):
            model.get_submodule(path or "")
    except (KeyError, AttributeError, TypeError):
        return None
    return found if found["blocks"] else None


def _block(block: str, parts: Any) -> dict[str, str | None]:
    attn, mlp = f"{block}.{parts['attn'].name}", f"{block}.{parts['mlp'].name}" if parts["mlp"].name else block
    inner = parts["mlp"].submodules
    up, down = (inner[name].name if name in inner else None for name in ("in", "out"))
    return {
        "path": block,
        "attn": attn,
        "o": f"{attn}.{parts['attn'].submodules['o'].name}",
        "mlp": mlp,
        "up": f"{mlp}.{up}" if up not in (None, "in") else None,
        "down": f"{mlp}.{down}" if down else None,
    }
