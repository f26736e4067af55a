"""Where the rules of a run's methods act on its model: what a manifest says of it, and how that is read back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from interp.formatting.numbers import several

if TYPE_CHECKING:
    from interp.rules.rules import Rules

#: What is done where a rule set has no rule, and the run was told to go on.
_NO_RULE: Final = "no rule: the plain gradient"


def rules_used(model: Any, rules: Mapping[str, Rules]) -> dict[str, dict[str, str]]:
    """By method, whose rules are given, and by operation of the model that they speak of: what they do there, and in how many modules.

    The key `rules` of a manifest. Operations that keep their gradient under the rules, such as linear maps, are left out, and modules inside of what
    has a rule as a whole.
    """
    # Late, so that this package imports no torch.
    from interp.rules.rules import GRADIENT

    return {method: _of_each(model, own) for method, own in rules.items() if own != GRADIENT}


def _of_each(model: Any, rules: Rules) -> dict[str, str]:
    from interp.model.coverage.treatments import PART_OF

    rows = [
        row
        for row in model.coverage(rules).rows
        if row.treatment != "plain gradient" and not row.rule.startswith(PART_OF)
    ]
    counted = Counter((row.operation, row.rule or _NO_RULE) for row in rows)
    found: dict[str, list[str]] = {}
    for (operation, rule), n in counted.items():
        found.setdefault(operation, []).append(f"{rule} ({several(n, 'module')})")
    return {operation: ", ".join(done) for operation, done in found.items()}


def said_rules(manifest: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The same of a manifest; nothing where it does not say so, as those of earlier versions."""
    found = manifest.get("rules")
    methods = found.items() if isinstance(found, Mapping) else ()
    return {
        str(method): {str(operation): str(done) for operation, done in own.items()}
        for method, own in methods
        if isinstance(own, Mapping)
    }
