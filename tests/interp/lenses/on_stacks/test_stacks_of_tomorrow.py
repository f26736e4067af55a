"""Encoder-decoders and towers that no library has: facts typed by hand, every site, and how those are refused that no layout states."""

from __future__ import annotations

import pytest
import torch

from interp.errors import EditError, LayoutError, SiteError, TaskError
from interp.model.edits import Edit, patch
from interp.model.model import HookedModel
from interp.rules.rules import GRADIENT, RELP_AH
from tests.interp.model.plain import close
from tests.interp.model.several import odd_stacks as odd
from tests.interp.model.several.own_stacks import Both
from tests.interp.model.several.unheard import given_of, hooked_of, made_of, output_of

#: Those that load, with kinds of sites that there are not.
LOADED: dict[type, set[str]] = {
    Both: set(),
    odd.CrossAround: set(),
    odd.CrossBehind: set(),
    odd.CrossGained: set(),
    odd.FedSource: {"resid_cross", "mlp_in", "mlp_normed"},
    odd.Multiplied: set(),
    odd.Lengthened: set(),
    odd.Halved: set(),
    odd.HeadOfBoth: set(),
    odd.SharedNorm: set(),
    odd.SharedNorms: {"attn_in", "encoder:attn_in"},
    odd.Bare: set(),
    odd.BySoftmax: {f"{stack}{kind}" for stack in ("", "encoder:", "cross_") for kind in ("q", "k", "v", "pattern")},
    odd.Towers: set(),
    odd.SharedFinal: set(),
}
#: Those that do not, with what the message must name.
REFUSED: dict[type, tuple[str, ...]] = {
    odd.CrossFirst: ("steps.0", "steps.0.across", "before its own"),
    odd.CrossBeside: ("steps.0", "beside the MLP"),
    odd.CrossBesideApart: ("steps.0", "beside the MLP"),
    odd.CrossBesideOwn: ("steps.0.across", "queries"),
    odd.CrossAlone: ("steps.0.across", "of which attends to it once"),
    odd.CrossTwice: ("steps.0.across", "steps.0.again"),
    odd.OwnPast: ("steps.0.across", "stream of its own blocks"),
    odd.OwnPastBySoftmax: ("steps.0.across", "stream of its own blocks"),
    odd.QueriesOfTheEncoder: ("steps.0.across", "stream of its own blocks"),
    odd.BothStreams: ("steps.0.across", "stream of its own blocks"),
    odd.Summary: ("steps.0", "its output is not input + attention output"),
    odd.EveryOther: ("of which attends to it once", "steps.0.across"),
    odd.Same: ("steps.0", "several attentions"),
    odd.EntryOfBoth: ("steps.0", "made of what another one gives"),
    odd.EarlyToo: ("upper.floors.1", "the stream before it too"),
    odd.SharedFeeds: ("steps.0", "MLP"),
    odd.SharedLooks: ("upper.floors.0.look", "2 times"),
    odd.SharedCross: ("steps.0",),
    odd.TwoUppers: ("upper.floors", "upper_too.floors", "steps"),
    odd.Continuing: ("see.floors.0", "made of what another one gives"),
    odd.MixedEarly: ("read.floors.0.look", "2 times"),
    odd.Three: ("read.floors", "see.floors", "again.floors"),
    odd.OneLeftOut: ("see.floors.2", "does not depend"),
    odd.SharedTower: ("read.floors.0.look", "2 times"),
    odd.Feeding: ("see.floors.0", "MLP"),
}
every = pytest.mark.parametrize("kind", LOADED, ids=lambda kind: kind.__name__)


@every
def test_the_layout_says_what_is_known(kind: type) -> None:
    layout, missing = hooked_of(kind).layout, LOADED[kind]
    assert set(hooked_of(kind).missing_sites()) == missing
    if not issubclass(kind, Both):
        assert [(stack.name, stack.n_layers) for stack in layout.stacks] == [("read", 2), ("see", 3)]
        shared = kind is odd.SharedFinal
        assert [stack.ln_final for stack in layout.stacks] == [
            None if shared else "read.last",
            None if shared else "see.last",
        ]
        return
    encoder, own = layout.stacks
    assert [block.path for block in encoder.blocks] == ["upper.floors.0", "upper.floors.1"]
    assert [block.path for block in own.blocks] == ["steps.0", "steps.1", "steps.2"]
    assert (encoder.name, encoder.causal, encoder.crosses, own.causal, own.crosses) == (
        "encoder",
        False,
        False,
        True,
        True,
    )
    for block in own.blocks:
        assert block.cross is not None
        assert [part.module for part in block.attentions] == [f"{block.path}.look", f"{block.path}.across"]
        assert [part.o for part in block.attentions] == [f"{block.path}.look.merge", f"{block.path}.across.merge"]
        assert (block.mlp.down, block.mlp.act) == (f"{block.path}.feed.narrower", f"{block.path}.feed.bend")
        around = kind is odd.CrossAround
        places = (
            ["around"] * 3
            if around
            else ["pre", "after" if kind is odd.CrossBehind else "scaled" if kind is odd.CrossGained else "pre", "pre"]
        )
        assert [part.place for part in block.sublayers] == places
        assert block.cross.gain == (f"{block.path}.gain" if kind is odd.CrossGained else None)
        assert block.cross.norm == (None if around else f"{block.path}.two")
    shared = kind is odd.SharedNorm
    assert (encoder.ln_final, layout.ln_final) == ((None, None) if shared else ("upper.last", "last"))
    assert layout.linear == (not shared and kind is not odd.HeadOfBoth)


@every
def test_every_site_is_read_and_edited_without_a_trace(kind: type) -> None:
    model, inputs = hooked_of(kind), given_of(kind)
    expected = output_of(model.hf, inputs)
    for rules in (GRADIENT, RELP_AH):
        run = model.run(inputs, reads=model.sites(), rules=rules, allow_unsupported=True)
        assert torch.equal(run.logits, expected)
    with torch.no_grad():
        for site in model.sites():
            assert torch.equal(model.run(inputs, edits=[Edit(site, lambda x: x.clone())]).logits, expected), site
            moved = model.run(inputs, edits=[Edit(site, lambda x: x + torch.randn_like(x))]).logits
            assert not torch.equal(moved, expected), site


@every
@torch.no_grad()
def test_the_streams_of_another_run_give_its_output(kind: type) -> None:
    """What a final norm reads is the last block's output, also where both stacks share it."""
    model, one, other = hooked_of(kind), given_of(kind), given_of(kind, seed=2)
    prefixes = [f"{stack.name}:" if stack.name else "" for stack in model.layout.stacks]
    run, expected = model.run(other, reads=model.sites()), output_of(model.hf, other)
    for place in ("embed", "resid_final"):
        patched = model.run(one, edits=[patch(f"{prefix}{place}", run[f"{prefix}{place}"]) for prefix in prefixes])
        assert torch.equal(patched.logits, expected), place
    for stack, prefix in zip(model.layout.stacks, prefixes, strict=True):
        assert torch.equal(run[f"{prefix}resid_final"], run[f"{prefix}resid_post.{stack.n_layers - 1}"])
        for layer in range(stack.n_layers):
            if kind is not odd.CrossAround or prefix:
                names = ["attn_out", *(["cross_out"] if not prefix and issubclass(kind, Both) else []), "mlp_out"]
                added = sum((run[f"{prefix}{name}.{layer}"] for name in names), run[f"{prefix}resid_pre.{layer}"])
                close(added, run[f"{prefix}resid_post.{layer}"])


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_no_layout_states_is_refused_by_name(kind: type) -> None:
    with pytest.raises(LayoutError) as error:
        HookedModel(made_of(kind))
    for word in REFUSED[kind]:
        assert word in str(error.value)


# ---------------------------------------------------------------- without the encoder


@torch.no_grad()
def test_a_decoder_that_cannot_be_alone_is_not_run_alone() -> None:
    model, inputs = hooked_of(odd.Bare), given_of(odd.Bare)
    assert model.encoded_width is None
    with pytest.raises(TaskError, match="Bare was tried"):
        model.encode(inputs)
    with pytest.raises(EditError, match="Bare does not run"):
        model.run(inputs, encoded=torch.zeros(2, 6, 32))
    assert model.generate({key: x[:1] for key, x in inputs.items()}, max_new_tokens=2)


@pytest.mark.parametrize(
    "kind", [kind for kind in LOADED if issubclass(kind, Both) and kind is not odd.Bare], ids=lambda kind: kind.__name__
)
@torch.no_grad()
def test_others_run_alone_on_what_is_encoded(kind: type) -> None:
    """Whatever they make of it before they attend to it."""
    model, inputs = hooked_of(kind), given_of(kind)
    encoded = model.encode(inputs)
    assert torch.equal(encoded, model.hf.upper(inputs["input_ids"], None).last_hidden_state)
    assert torch.equal(model.run(inputs, encoded=encoded).logits, output_of(model.hf, inputs))


# ---------------------------------------------------------------- towers


@torch.no_grad()
def test_towers_of_any_name_have_their_own_positions() -> None:
    model = hooked_of(odd.Towers)
    for n in (6, 9):
        inputs = {key: x[:1] for key, x in given_of(odd.Towers, n=n).items()}
        assert (
            len(model.positions(inputs, "read")) == n == model.run(inputs, reads=["read:embed"])["read:embed"].shape[1]
        )
        assert model.positions(inputs, "read") == tuple(f"<{i}>" for i in inputs["input_ids"][0].tolist())
        assert model.positions(inputs, "see")[:5] == ("r0c0", "r0c1", "r0c2", "r0c3", "r1c0")
    for name in ("z.0", "text:z.0", "encoder:z.0"):
        with pytest.raises(SiteError):
            model.run(inputs, reads=[name])
