"""What the same work costs in TransformerLens, as far as the installed version does it for this model."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from copy import deepcopy
from importlib.metadata import PackageNotFoundError, version
from io import StringIO
from typing import Any, Final

import torch
from torch import Tensor

from circuits.bench import attribution_cost, exact_cost
from circuits.bench.workload import Measurement, Size, Skipped, random_task, seconds_of
from interp.errors import InterpError
from interp.model.model import HookedModel

GROUP: Final = "peers"
#: Patches that are timed of each kind. Each costs the peer the same, so a few tell.
PATCHES: Final = 6
#: Characters of a peer's own error that are shown.
LONGEST: Final = 240
#: How far a peer's logits may be from the model's, as a share of the largest: more is another model, and its cost no peer's.
TOLERANCE: Final = 0.05


def bench_peers(model: HookedModel, size: Size) -> Iterator[Measurement | Skipped]:
    """Activation patches and attribution patching by TransformerLens, against the plain model in the same rounds.

    Patches are made by its own `patching` module; the source's activations are cached before and not counted. Whatever
    goes wrong in a peer is a `Skipped` with the reason.
    """
    yield from _tried("TransformerBridge", lambda: _bridge(model, size))
    yield from _tried("HookedTransformer", lambda: _hooked_transformer(model, size))
    for granularity in ("node", "edge"):
        yield from _tried(f"attribution_patch, {granularity}", lambda own=granularity: _attribution(model, size, own))  # type: ignore[misc]


def _tried(name: str, work: Callable[[], list[Measurement]]) -> list[Measurement] | list[Skipped]:
    """What `work` measures. Any error is a reason: a peer may not support the model, or not exist in this version."""
    try:
        with _quiet():
            return work()
    except Exception as error:
        kind = "" if isinstance(error, InterpError) else f"{type(error).__name__}: "
        text = " ".join(str(error).split())
        return [
            Skipped(GROUP, f"{_library()} {name}", kind + (text if len(text) <= LONGEST else text[:LONGEST] + "..."))
        ]


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing that a peer prints, warns of or logs is shown; the random numbers of the process stay where they are."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    silent = redirect_stdout(StringIO()), redirect_stderr(StringIO())
    try:
        with silent[0], silent[1], warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
            yield
    finally:
        logging.disable(before)


def _library() -> str:
    try:
        return f"TransformerLens {version('transformer-lens')}"
    except PackageNotFoundError:
        return "TransformerLens"


# ---------------------------------------------------------------- activation patching


def _bridge(model: HookedModel, size: Size) -> list[Measurement]:
    return _patches(model, size, build_bridge(model), "TransformerBridge")


def _hooked_transformer(model: HookedModel, size: Size) -> list[Measurement]:
    return _patches(model, size, hooked_transformer(model, size.length), "HookedTransformer of random weights")


def _patches(model: HookedModel, size: Size, peer: Any, name: str) -> list[Measurement]:
    """Time a few patches of the residual stream and of heads, spread over the layers."""
    from transformer_lens import patching

    source, base = _tokens(model, size)
    kinds = {
        "layer x position": ("resid_pre", "pos", size.length, patching.layer_pos_patch_setter),
        "layer x head, all positions": ("z", "head", model.layout.n_heads, patching.layer_head_vector_patch_setter),
    }
    works: dict[str, Callable[[], Any]] = {"plain": lambda: _forward(model, base)}
    with torch.no_grad():
        for title, (site, axis, among, setter) in kinds.items():
            index = _sample(model.layout.n_layers, among, axis)
            _, cache = peer.run_with_cache(source, names_filter=lambda at, site=site: at.endswith(f"hook_{site}"))
            options = {"patch_setter": setter, "activation_name": site, "index_df": index}
            works[title] = lambda cache=cache, options=options: patching.generic_activation_patch(  # type: ignore[misc]
                peer, base, cache, _metric, **options
            )
        medians = _medians(works, size)
    return [
        Measurement(
            GROUP,
            f"{_library()} {name}, {title}",
            medians[title] / medians["plain"] / PATCHES,
            medians[title],
            exact_cost.UNIT,
            patches=PATCHES,
        )
        for title in kinds
    ]


def _medians(works: dict[str, Callable[[], Any]], size: Size) -> dict[str, float]:
    """Median seconds; the plain model is timed before and after all others, and its better median counts."""
    medians = seconds_of({**works, "plain again": works["plain"]}, max(1, size.repeats // 3))
    return medians | {"plain": min(medians["plain"], medians["plain again"])}


def _sample(n_layers: int, among: int, axis: str) -> Any:
    """(layer, position or head) of the patches, from the first layer to the last: a data frame, as the peer wants it."""
    import pandas as pd

    steps = range(PATCHES)
    return pd.DataFrame(
        {"layer": [i * (n_layers - 1) // (PATCHES - 1) for i in steps], axis: [i % among for i in steps]}
    )


def _tokens(model: HookedModel, size: Size) -> tuple[Tensor, Tensor]:
    """Source and base token ids [batch pos], those of the other parts of the benchmark."""
    pairs = random_task(model, size.batch, size.length).tokenize(None, model.layout.d_vocab)
    both = [[getattr(pair, side) for pair in pairs] for side in ("clean", "corrupt")]
    source, base = torch.tensor(both, device=model.device)
    return source, base


def _forward(model: HookedModel, ids: Tensor) -> Tensor:
    with torch.no_grad():
        return model.hf(input_ids=ids, use_cache=False).logits  # type: ignore[no-any-return]


def _metric(logits: Tensor) -> Tensor:
    return (logits[:, -1, 1] - logits[:, -1, 2]).mean()


# ---------------------------------------------------------------- attribution patching


def _attribution(model: HookedModel, size: Size, granularity: str) -> list[Measurement]:
    """Time the peer's attribution patching, which takes one prompt pair at a time, on all pairs; edges on one only.

    `node` scores heads and MLPs apart by position, `edge` the edges between them, in Python, one at a time.
    """
    from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch

    config = EdgeAttributionConfig(granularity=granularity)
    if granularity == "edge":
        size = Size(1, size.length, 1)
    peer, (source, base) = build_bridge(model), _tokens(model, size)
    task = random_task(model, size.batch, size.length)
    name = f"attribution_patch, {granularity}, {size.batch} x {size.length} tokens"
    works: dict[str, Callable[[], Any]] = {
        "plain": lambda: attribution_cost.plain_passes(model, task),
        name: lambda: attribution_patch(peer, source, base, _metric, config),
    }
    with torch.enable_grad():
        medians = _medians(works, size)
    ratio = medians[name] / medians["plain"]
    return [Measurement(GROUP, f"{_library()} {name}", ratio, medians[name], attribution_cost.UNIT)]


# ---------------------------------------------------------------- peers of this model


def build_bridge(model: HookedModel) -> Any:
    """A TransformerBridge around a copy of the model, since a bridge replaces modules in place.

    Raises: InterpError where its logits are not those of the model; what the peer raises.
    """
    from transformer_lens.model_bridge.sources import build_bridge_from_module

    copy = deepcopy(model.hf)
    copy.set_attn_implementation("eager")
    peer = build_bridge_from_module(copy, type(copy).__name__, hf_config=copy.config, model_name=model.name)
    ids = _tokens(model, Size(1, 8))[1]
    want = _forward(model, ids)
    with torch.no_grad():
        far = float((peer(ids) - want).abs().max() / want.abs().max())
    if not far <= TOLERANCE:
        raise InterpError(f"its logits differ from the model's by {far:.0%} of the largest, so it runs something else.")
    return peer


def hooked_transformer(model: HookedModel, length: int) -> Any:
    """A HookedTransformer of the model's shape with random weights: only its cost counts.

    Raises: InterpError for blocks that it is not known to build alike, told by the number of weights too.
    """
    from transformer_lens import HookedTransformer

    size, (attn, mlp) = model.layout, model.layout.blocks[0].both
    norms = model.operations.norms
    plain = attn.plain and mlp.plain and size.ln_final in norms
    if mlp.act is None or not plain or size.attention_extras:
        raise InterpError(
            "built for blocks of norms, plain attention and one MLP only; this model's have more to them."
        )
    peer = HookedTransformer(_config(model, length)).eval()
    own = [p for layer in size.blocks for p in model.hf.get_submodule(layer.path).parameters() if p.ndim > 1]
    theirs = [p for name, p in peer.blocks.named_parameters() if "W_" in name]
    counts = [sum(p.numel() for p in weights) for weights in (own, theirs)]
    if counts[0] != counts[1]:
        raise InterpError(f"its blocks would have {counts[1]} weights and the model's have {counts[0]}, another shape.")
    return peer


def _config(model: HookedModel, length: int) -> Any:
    """The model's shape as a HookedTransformerConfig, with room for `length` positions."""
    from transformer_lens import HookedTransformerConfig

    size, block = model.layout, model.layout.blocks[0]
    _, mlp = block.both
    norm = model.operations.norms[size.ln_final or ""]
    return HookedTransformerConfig(
        n_layers=size.n_layers,
        d_model=size.d_model,
        n_ctx=length,
        d_head=size.d_head,
        n_heads=size.n_heads,
        n_key_value_heads=None if size.n_kv_heads == size.n_heads else size.n_kv_heads,
        d_mlp=size.d_mlp,
        d_vocab=size.d_vocab,
        act_fn=_activation(model),
        gated_mlp=mlp.gated,
        parallel_attn_mlp=block.parallel,
        normalization_type="LN" if norm.centred else "RMS",
        positional_embedding_type="rotary" if size.rotary else "standard",
        rotary_dim=size.d_head if size.rotary else None,
        dtype=model.dtype,
        device=str(model.device),
    )


def _activation(model: HookedModel) -> str:
    """The name of the activation, which both libraries call alike where the peer has it.

    Raises: InterpError for one that the peer lacks.
    """
    from transformer_lens.utilities.activation_functions import SUPPORTED_ACTIVATIONS

    fields = ("activation_function", "hidden_act", "activation")
    name = next((str(found) for field in fields if (found := getattr(model.hf.config, field, None))), "unknown")
    if name not in SUPPORTED_ACTIVATIONS:
        raise InterpError(f"activation {name!r} is not one of HookedTransformer's: {', '.join(SUPPORTED_ACTIVATIONS)}.")
    return name
