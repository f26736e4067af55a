"""Where rules act, in a manifest: against the layers of tiny models, which are counted by hand; and what is read of odd manifests."""

from __future__ import annotations

import pytest

from circuits.runs.rule_use import rules_used, said_rules
from interp.rules.rules import GRADIENT, RELP, Rules
from tests.interp.model.tiny import hooked


def test_rules_of_experts_are_named_beside_those_of_modules() -> None:
    """Two blocks: two norms each and one behind them, an activation of experts each, and a router that is no row of its own."""
    model = hooked("mixtral")
    frozen = f"scale frozen ({2 * model.layout.n_layers + 1} modules)"
    experts = "weights held constant, f(x)/x of silu, half rule (2 modules)"
    assert rules_used(model, {"relp": RELP, "atp": GRADIENT}) == {
        "relp": {"RMSNorm": frozen, "silu": "f(x)/x of silu (2 modules)", "experts": experts}
    }


def test_what_has_no_rule_is_said_to_have_none() -> None:
    found = rules_used(hooked("mixtral"), {"deeplift": Rules(secants=8)})["deeplift"]
    assert (
        found["experts: which of them are chosen jumps between two runs"] == "no rule: the plain gradient (2 modules)"
    )


@pytest.mark.parametrize("manifest", [{}, {"rules": None}, {"rules": "relp"}, {"rules": {"relp": ["norm"]}}])
def test_manifests_that_do_not_say_so(manifest: dict[str, object]) -> None:
    assert said_rules(manifest) == {}
