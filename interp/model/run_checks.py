"""What is refused of the options of a run before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from interp.errors import EditError, InterpError, SiteError, UnsupportedRuleError
from interp.model.chains.chains import check_sites
from interp.model.edits import Edit
from interp.model.operands import Operands
from interp.model.plan import Plan
from interp.model.result import Run
from interp.parts.layout import Layout
from interp.parts.named_inputs import TEXT, Inputs
from interp.parts.sites import Site, SiteLike
from interp.parts.tokens import Tokens
from interp.rules.rules import Rules
from interp.whole_numbers import whole


def check_lists(reads: Sequence[SiteLike], edits: Sequence[Edit]) -> None:
    """Raises: SiteError or EditError where one is given in place of a list, or something else than edits."""
    if isinstance(reads, (str, Site)):
        raise SiteError(f"reads={reads!r}: expected a list of sites, for example reads=[{str(reads)!r}].")
    if isinstance(edits, Edit):
        raise EditError("edits: given one edit; expected a list, for example edits=[edit].")
    if odd := [e for e in edits if not isinstance(e, Edit)]:
        raise EditError(
            f"edits: given {odd[0]!r:.80}; expected edits, for example edits=[interp.zero('z.3', heads=0)]."
        )


def checked_kept(logits_to_keep: Any) -> int:
    """How many positions' logits are asked for, 0 for all. Raises: InterpError."""
    kept = whole(logits_to_keep, "logits_to_keep")
    if kept < 0:
        raise InterpError(f"logits_to_keep={kept}: expected a number of positions, or 0 for all.")
    return kept


def check_pattern(name: str, layout: Layout, edited: Sequence[Site], split_kv: bool) -> None:
    """Raises: EditError where z would not be what the model (of this class) makes of an edited pattern, or of keys and values of each head."""
    own = layout.attention_function and not layout.editable
    if own and (split_kv or any(site.kind.endswith("pattern") for site in edited)):
        what = "split_kv" if split_kv else "edits of the pattern"
        raise EditError(
            f"{what}: attention of {name} is not the pattern times the values that a group of heads shares; edit z, or q, k and v."
        )


def check_encoded(model: Any, sites: Sequence[Site], given: Tokens | Inputs, encoded: Any) -> None:
    """Raises: SiteError where a run without its encoder reads or edits it; EditError for something else than what an encoder gives."""
    layout = model.layout
    if not layout.crosses or isinstance(given, Tokens):
        raise EditError(f"encoded: {type(model.hf).__name__} has no decoder that attends to an encoder; leave it out.")
    if inside := [site for site in sites if site.stack]:
        raise SiteError(f"site '{inside[0]}': encoded= is given, so the encoder is not run; leave it out, or the site.")
    if not model.encoded_width:
        raise EditError(
            f"encoded: {type(model.hf).__name__} does not run on what its encoder gives alone; leave it out."
        )
    shape = list(encoded.shape) if isinstance(encoded, torch.Tensor) else type(encoded).__name__
    mask = given.tensors.get("attention_mask") if given.main == TEXT else None
    n = "source_pos" if mask is None else mask.shape[1]
    right = isinstance(encoded, torch.Tensor) and encoded.ndim == 3 and encoded.dtype in (model.dtype, torch.float32)
    if (
        not right
        or (len(encoded), encoded.shape[2]) != (len(given), model.encoded_width)
        or n not in ("source_pos", encoded.shape[1])
    ):
        raise EditError(
            f"encoded: given {shape}; expected [{len(given)}, {n}, {model.encoded_width}]: what model.encode makes of these inputs."
        )
    if not bool(torch.isfinite(encoded).all()):
        raise EditError("encoded: some numbers are not finite (nan, inf).")


def check_chains(chains: Mapping[str, tuple[int, ...]], plan: Plan, layout: Layout) -> None:
    """Raises: SiteError for a site that a chain of layers has not, or several times; UnsupportedRuleError where a run keeps its operands."""
    if not chains:
        return
    if plan.ends:
        raise SiteError(
            "layers: this run ends at the sites that are measured; a chain of layers needs one that goes on to the logits."
        )
    check_sites((*plan.touched, *(site.place for site in plan.splices)), chains, layout)
    if plan.keep is not None or plan.toward is not None:
        raise UnsupportedRuleError(
            "layers: operands of a chain of layers are not kept; leave out keep_operands, toward and rules with secants."
        )


def checked_other(rules: Rules, toward: Run | None, given: Tokens | Inputs, owner: int) -> Operands | None:
    """The operands of the run that secants go to. Raises: UnsupportedRuleError where rules and run do not fit."""
    if bool(rules.secants) != (toward is not None):
        raise UnsupportedRuleError(
            "rules with secants stand between two runs: pass toward=, a run made with keep_operands=True."
            if rules.secants
            else f"toward: rules ({rules.describe()}) stand at one run; it belongs to rules with secants (interp.DEEPLIFT)."
        )
    if toward is not None and toward.operands is None:
        raise UnsupportedRuleError("toward: this run did not keep its operands; make it with keep_operands=True.")
    if toward is None or toward.operands is None:
        return None
    if toward.operands.owner != owner:
        raise UnsupportedRuleError("toward: this run is of another model; both runs must be made by the same one.")
    if isinstance(given, Inputs):
        return toward.operands
    theirs = toward.tokens.mask.to(given.mask.device)
    if theirs.shape == given.mask.shape and not torch.equal(theirs, given.mask):
        raise UnsupportedRuleError(
            f"toward: prompts of {given.mask.sum(1).tolist()} tokens in this run and of {theirs.sum(1).tolist()} in the other, "
            "padded otherwise: both need prompts of one length, pair by pair."
        )
    return toward.operands


def check_value(rules: object) -> None:
    if not isinstance(rules, Rules):
        raise UnsupportedRuleError(
            f"rules={rules!r:.80}: expected a rule set, for example interp.RELP, or interp.Rules(norm='frozen')."
        )
