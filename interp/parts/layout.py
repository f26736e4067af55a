"""Where the sites are inside a Hugging Face module tree.

Module paths come from transformer-lens' architecture adapters; what the modules do with the residual stream (which
norm reads it, what is added to it, with which factor, one after the other or in parallel) is read off one probe
forward of the model itself and checked, so a wrong map is an error and never a wrong number.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from interp.errors import LayoutError


@dataclass(frozen=True)
class BlockPaths:
    """Module paths of one block, as the adapter names them; `mlp` is the block itself where it has no MLP module."""

    block: str
    attn: str
    o: str
    mlp: str
    mlp_up: str | None
    mlp_down: str | None


@dataclass(frozen=True)
class ModelPaths:
    """Module paths of a decoder."""

    blocks: tuple[BlockPaths, ...]
    ln_final: str
    unembed: str
    rotary: bool
    pos_embed: str | None = None


@dataclass(frozen=True)
class UpBranch:
    """The branch that a gate multiplies: what the module at `path` returns, or the second half of it (`fused`)."""

    path: str
    fused: bool

    def of(self, y: Tensor) -> Tensor:
        """The branch in the module's output `y` [... d], a view of it."""
        return y.chunk(2, dim=-1)[1] if self.fused else y


@dataclass(frozen=True)
class BlockLayout:
    """What one block does, read off the probe.

    `attn_reader` and `mlp_reader` are the modules whose input is the residual stream (a norm, or attention / MLP
    itself); None where attention and MLP share one norm, so that neither has a copy of its own. `attn_norm` and `mlp_norm`
    are those norms, shared or not; None where attention or MLP reads the stream as it is. `mlp_entry` is the module that
    reads what the norm makes. `attn_writer` and `mlp_writer` are the modules whose output, times `scale`, is added. `act` is None where the MLP has no single
    activation module with a product (gated) or nothing (ungated) behind it, as in a mixture of experts.
    `up`: what it is multiplied by, where gated. `mlp_reused`: the block adds in place into the MLP's output, so a read must not share memory with it.
    """

    paths: BlockPaths
    attn_reader: str | None
    attn_writer: str
    mlp_reader: str | None
    mlp_writer: str
    attn_norm: str | None
    mlp_norm: str | None
    mlp_entry: str
    parallel: bool
    scale: float
    act: str | None
    up: UpBranch | None
    mlp_reused: bool

    @property
    def gated(self) -> bool:
        """Whether the activation's output is multiplied by another branch."""
        return self.up is not None


@dataclass(frozen=True, repr=False)
class Layout:
    """The map of a model: sizes, blocks, and how the logits come out.

    `logits_scale` multiplies the output of the unembedding; `logits_softcap` c means c * tanh(. / c) after it.
    `attention_function`: attention goes through transformers' AttentionInterface, so q, k, v and pattern exist.
    `pos_embed`: the module whose output is added to the token embedding, where there is one.
    `attention_extras`: what the configuration does inside attention besides the softmax (soft caps, clips).
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_model: int
    d_mlp: int | None
    d_vocab: int
    blocks: tuple[BlockLayout, ...]
    ln_final: str
    unembed: str
    rotary: bool
    pos_embed: str | None
    logits_scale: float
    logits_softcap: float | None
    attention_function: bool
    attention_extras: tuple[str, ...]

    def __repr__(self) -> str:
        kv = f", {self.n_kv_heads} of keys and values" if self.n_kv_heads != self.n_heads else ""
        widths = f"d_model {self.d_model}, d_head {self.d_head}, d_mlp {self.d_mlp}, d_vocab {self.d_vocab}"
        return f"Layout({self.n_layers} layers of {self.n_heads} heads{kv}, {widths})"


def model_paths(model: Any) -> ModelPaths:
    """The module paths of `model` from transformer-lens' adapter for its architecture.

    Raises: LayoutError for an architecture that transformer-lens does not map, or without the parts of a decoder.
    """
    components = _components(model)
    try:
        blocks = components["blocks"]
        n_layers = sum(1 for _ in model.get_submodule(blocks.name).children())
        paths = tuple(_block_paths(f"{blocks.name}.{i}", blocks.submodules) for i in range(n_layers))
        names = {part: components[part].name for part in ("ln_final", "unembed")}
        position = getattr(components.get("pos_embed"), "name", None)
        found = ModelPaths(paths, **names, rotary="rotary_emb" in components, pos_embed=position)
    except (KeyError, AttributeError, TypeError) as error:
        raise LayoutError(
            f"{type(model).__name__}: the adapter of transformer-lens lacks {error}; expected a decoder with blocks, "
            "attention with an output projection, MLP, final norm and unembedding."
        ) from error
    if not paths:
        raise LayoutError(f"{type(model).__name__}: {blocks.name} is empty; expected a decoder with one block or more.")
    for path in _all_paths(found):
        try:
            model.get_submodule(path)
        except AttributeError as error:
            raise LayoutError(
                f"{type(model).__name__}: module {path!r}, named by transformer-lens, is missing."
            ) from error
    return found


def _components(model: Any) -> dict[str, Any]:
    """The mapping that a class of ours states itself, else the adapter's. Building it touches no module of the model."""
    if own := getattr(type(model), "component_mapping", None):
        return dict(own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformer_lens.config import TransformerBridgeConfig
        from transformer_lens.factories.architecture_adapter_factory import ArchitectureAdapterFactory
        from transformer_lens.model_bridge.sources.transformers import map_default_transformer_lens_config

        reason: Exception | None = None
        for cls in type(model).__mro__:  # a subclass is laid out like its base, and checked on the probe
            try:
                config = TransformerBridgeConfig.from_dict(map_default_transformer_lens_config(model.config).__dict__)
                config.architecture = cls.__name__
                adapter = ArchitectureAdapterFactory.select_architecture_adapter(config)
                return dict(adapter.component_mapping or {})
            except Exception as error:  # whatever stops an adapter of somebody else
                reason = reason or error
    raise LayoutError(
        f"architecture {type(model).__name__} is not mapped by transformer-lens ({reason}). "
        "See docs/extending/architecture.md for how to add one."
    ) from reason


def _block_paths(block: str, parts: dict[str, Any]) -> BlockPaths:
    """Join the adapter's relative names of one block's parts to absolute paths."""
    attn = f"{block}.{parts['attn'].name}"
    mlp = f"{block}.{parts['mlp'].name}" if parts["mlp"].name else block
    inner = parts["mlp"].submodules
    down = f"{mlp}.{inner['out'].name}" if "out" in inner else None
    return BlockPaths(block, attn, f"{attn}.{parts['attn'].submodules['o'].name}", mlp, _up(mlp, inner), down)


def _up(mlp: str, inner: dict[str, Any]) -> str | None:
    """The linear map into the MLP; None where gate and up are one fused module or there are experts."""
    return f"{mlp}.{inner['in'].name}" if "in" in inner and inner["in"].name != "in" else None


def _all_paths(paths: ModelPaths) -> Iterator[str]:
    yield from (paths.ln_final, paths.unembed)
    for block in paths.blocks:
        yield from (path for path in (block.attn, block.o, block.mlp, block.mlp_up, block.mlp_down) if path)
