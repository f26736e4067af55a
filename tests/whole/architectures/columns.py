"""The four columns of docs/architectures.md for one tiny model: what holds of it, and why not."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor
from transformers.backbone_utils import BackboneMixin

from interp.errors import InterpError, LayoutError
from interp.model.edits import Edit
from interp.model.model import HookedModel
from interp.model.modules.calling import on_inputs
from interp.parts.sites import Site
from interp.parts.stack_layout import Stack
from interp.rules.rules import RELP_AH
from tests.interp.rules.float64 import true_float64
from tests.whole.architectures.building import Built, NotBuilt, build
from tests.whole.architectures.laws import (
    MAPS,
    MODULES,
    NO,
    REFUSED,
    UNTRIED,
    YES,
    Fails,
    equal,
    turned,
    uncapped,
    without_biases,
)
from tests.whole.architectures.net_laws import net_of, net_patching, net_reads, net_relp

COLUMNS: Final = ("loads", "reads", "patching", "relp")
#: Streams that are cuts: all that reaches the output passes through them; of an encoder together with what enters its decoder.
_CUTS: Final = ("embed", "resid_pre", "resid_mid", "resid_post", "resid_final")

Row = dict[str, str]


def row(name: str, model_type: str) -> Row:
    """What holds of a class: `built`, the four columns, and `why` of the first that does not hold."""
    try:
        built = build(name, model_type)
    except NotBuilt as error:
        return dead(str(error))
    found = {"built": built.way, **dict.fromkeys(COLUMNS, UNTRIED), "blocks": "", "why": ""}
    model = _try(found, "loads", lambda: _hooked(built.model, built.inputs))
    if model is None:
        return _row_of_net(found, built)
    for column, law in (("reads", _reads), ("patching", _patching), ("relp", _relp)):
        _try(found, column, lambda law=law: law(model, built))
    return found


def _row_of_net(found: Row, built: Built) -> Row:
    """The row of a class that does not load with blocks: what holds of it as a net of its modules. `blocks`: why it has none that are known."""
    own = {**found, "blocks": found["why"], "why": ""}
    model = _try(own, "loads", lambda: net_of(built.model, built.inputs))
    if model is None:
        return found
    for column, law in (("reads", net_reads), ("patching", net_patching), ("relp", net_relp)):
        _try(own, column, lambda law=law: law(model, built))
    return own | {"loads": MODULES}


def dead(why: str) -> Row:
    """The row of a class whose process did not come to an end."""
    return {"built": NO, **dict.fromkeys(COLUMNS, UNTRIED), "blocks": "", "why": why}


def _try(found: Row, column: str, law: Callable[[], Any]) -> Any:
    """Write into a row whether a law holds; the first line of why not, where it is the first. What the law gives."""
    try:
        result = law()
    except Exception as error:
        found[column] = NO
        line = next((line.strip() for line in str(error).split("\n") if line.strip()), "")
        named = "" if isinstance(error, (InterpError, Fails)) else f"{type(error).__name__}: "
        found["why"] = found["why"] or f"{named}{line}"[:400]
        return None
    found[column] = REFUSED if result == REFUSED else YES
    return result


def _hooked(model: Any, inputs: Mapping[str, Tensor]) -> HookedModel:
    """A model, with an example of its inputs where its configuration does not tell their size."""
    output = MAPS if isinstance(model, BackboneMixin) else None
    try:
        return HookedModel(model, output=output)
    except LayoutError as error:
        if model.main_input_name == "input_ids" or "inputs=" not in str(error):
            raise
        return HookedModel(model, inputs=dict(inputs), output=output)


def _given(model: HookedModel, inputs: Mapping[str, Tensor]) -> Any:
    return inputs["input_ids"] if model.takes_text and len(inputs) == 1 else dict(inputs)


def _plain(model: HookedModel, inputs: Mapping[str, Tensor]) -> Tensor:
    """What the bare model gives, of what ours reads."""
    with torch.no_grad():
        return model.layout.output(model.hf(**on_inputs(model.hf, inputs)), inputs)


def _reads(model: HookedModel, built: Built) -> None:
    """Every site read, and every site edited to what it is: the output is that of the bare model, bit for bit."""
    given, expected = _given(model, built.inputs), _plain(model, built.inputs)
    with torch.no_grad():
        equal(model.run(given, reads=model.sites()).logits, expected, "with every site read")
        own = [site for site in model.sites() if not site.endswith("pattern") or model.layout.editable]
        for site in own:
            equal(model.run(given, edits=[Edit(site, lambda x: x)]).logits, expected, f"{site} edited to itself")


def _patching(model: HookedModel, built: Built) -> None:
    """All of the stream at a place put in from another run: the output is that run's, bit for bit."""
    given, other = (_given(model, x) for x in (built.inputs, turned(built.inputs)))
    with torch.no_grad():
        cuts = _cuts(model)
        run, own = model.run(other, reads=[site for cut in cuts for site in cut]), model.run(given).logits
        if torch.equal(run.logits, own):
            raise Fails("another input gives the same output, so that patching shows nothing")
        for cut in cuts:
            edits = [Edit(site, lambda x, value=run[site]: value) for site in cut]
            found = model.run(given, edits=edits).logits
            if not torch.equal(found, run.logits):
                off = float((found - run.logits).abs().max() / (run.logits - own).abs().max())
                raise Fails(
                    f"{cut[0].kind} of another run does not give its output, off by {off:.1g} of the difference"
                )


def _cuts(model: HookedModel) -> list[tuple[Site, ...]]:
    """The cuts of a model, each the sites that make it up."""
    found: list[tuple[Site, ...]] = []
    for stack in model.layout.stacks:
        prefix = f"{stack.name}:" if stack.name else ""
        beside = tuple(
            one for own in model.layout.stacks if own is not stack for one in model.resolve(_embed(own.name))
        )
        kinds = [kind for kind in _CUTS if f"{prefix}{kind}" in model.sites()]
        kinds = ["resid_final"] if stack.crosses else kinds  # an encoder has written into the stream before that
        for site in (site for kind in kinds for site in model.resolve(f"{prefix}{kind}")):
            found.append((site, *_told(stack, site)) if stack.crosses else (site, *beside, *_told(stack, site)))
    return found


def _told(stack: Stack, site: Site) -> tuple[Site, ...]:
    """What the blocks behind a stream are given of the tokens beside it."""
    passed = {"embed": 0, "resid_final": stack.n_layers}.get(site.kind, (site.layer or 0) + (site.kind == "resid_post"))
    return tuple(own for own in stack.layer_inputs if own.layer is not None and own.layer >= passed)


def _embed(stack: str) -> str:
    return f"{stack}:embed" if stack else "embed"


def _relp(model: HookedModel, built: Built) -> str:
    """RelP with frozen patterns, in float64 and without biases: at every cut the relevance is the output. Or refused by name."""
    if model.coverage(RELP_AH).unsupported:
        return REFUSED
    with true_float64():
        hf = without_biases(copy.deepcopy(built.model).double())
        if any("experts" in path for path, _ in hf.named_modules()):
            hf.set_experts_implementation("eager")  # torch has no grouped products in float64
        inputs = {name: x.double() if x.is_floating_point() else x for name, x in built.inputs.items()}
        wide = _hooked(hf, inputs)
        cuts = _cuts(wide)
        run = wide.run(_given(wide, inputs), reads=[site for cut in cuts for site in cut], rules=RELP_AH)
        weights = torch.randn(run.logits.shape, generator=torch.Generator().manual_seed(2))
        metric = (uncapped(run.logits, wide.layout.logits_softcap) * weights).sum()
        places = list(run.reads.items())
        slopes = torch.autograd.grad(metric, [x for _, x in places])
        relevance = {site: (x * slope).sum() for (site, x), slope in zip(places, slopes, strict=True)}
        for cut in cuts:
            off = float((sum(relevance[site] for site in cut) - metric).abs() / metric.abs())
            if not off < 1e-6:
                raise Fails(f"relevance at {cut[0].kind} is not conserved, off by {off:.1g} of the output")
    return YES
