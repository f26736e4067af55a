"""What one run does, as a value: the sites that it reads, its edits, its rules. `interp.model.run` carries it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from interp.dictionaries.splice import Dictionaries, Splice, make_splices
from interp.errors import SiteError, UnsupportedRuleError
from interp.model.edits import Edit
from interp.model.operands import Operands
from interp.parts.sites import ATTENTION_KINDS, Site, order
from interp.rules.rules import Rules


@dataclass(frozen=True)
class Plan:
    """What one run does: which sites it reads, how it edits which, and under which rules.

    `split_kv`: every query head gets a copy of its own of the keys and values that its group shares. `dictionaries`: by the
    site that they make up. `keep`: where the operands of the run go; `toward`: those of the run that secants go to. `ends`: whether the run
    is over where the last of its sites was seen.
    """

    reads: frozenset[Site]
    edits: Mapping[Site, tuple[Edit, ...]]
    rules: Rules
    split_kv: bool = False
    dictionaries: Dictionaries = field(default_factory=dict)
    keep: Operands | None = None
    toward: Operands | None = None
    ends: bool = False

    @cached_property
    def splices(self) -> Mapping[Site, Splice]:
        """The dictionaries that the run looks into, by the site that they make up."""
        return make_splices(self.dictionaries, self.reads, tuple(self.edits), self.rules)

    @cached_property
    def entered(self) -> frozenset[Site]:
        """The places that these dictionaries read."""
        return frozenset(splice.dictionary.site for splice in self.splices.values())

    def changes(self, site: Site) -> bool:
        """Whether the run may go on with another tensor at this place."""
        spliced = self.splices.get(site)
        return site in self.edits or (spliced is not None and bool(spliced.edits))

    @cached_property
    def touched(self) -> frozenset[Site]:
        """Every place that is read or edited, or that a dictionary reads."""
        return frozenset(s.place for s in (*self.reads, *self.edits)) | self.entered

    def sites(self) -> list[Site]:
        """The same in the order of the forward pass."""
        return sorted(self.touched, key=order)

    def needs_attention_function(self) -> bool:
        """Whether q, k, v or pattern are touched or kept, or a rule acts on attention."""
        touched = any(s.kind in ATTENTION_KINDS for s in self.touched)
        return self.split_kv or touched or self.keep is not None or self.rules.in_attention


def plan_run(
    reads: Sequence[Sequence[Site]],
    edits: Sequence[tuple[Sequence[Site], Edit]],
    rules: Rules,
    split_kv: bool,
    dictionaries: Dictionaries,
    keep: Operands | None = None,
    toward: Operands | None = None,
    ends: bool = False,
) -> Plan:
    """A plan from resolved reads and edits; several edits of one site act in the order given.

    Raises: SiteError for features or an error where no dictionary is; UnsupportedRuleError for edits of a pattern between two
    runs.
    """
    by_site: dict[Site, tuple[Edit, ...]] = {}
    for sites, edit in edits:
        for site in sites:
            by_site[site] = (*by_site.get(site, ()), edit)
    found = Plan(frozenset(_flat(reads)), by_site, rules, split_kv, dictionaries, keep, toward, ends)
    if (keep is not None or rules.secants) and (odd := [site for site in by_site if site.kind.endswith("pattern")]):
        raise UnsupportedRuleError(
            f"edits of '{odd[0]}' in a run whose operands are kept, or that goes toward another: what follows an edited pattern "
            "has no average between two runs. Edit z instead."
        )
    if bare := [s for s in (*found.reads, *by_site) if s.part and s.place not in dictionaries]:
        given = ", ".join(map(str, dictionaries)) or "none"
        raise SiteError(f"site '{bare[0]}': no dictionary makes up '{bare[0].place}' in this run; given: {given}.")
    return found


def _flat(groups: Sequence[Sequence[Site]]) -> Iterator[Site]:
    for group in groups:
        yield from group
