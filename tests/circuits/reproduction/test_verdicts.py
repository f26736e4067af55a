"""What is said of a table follows from its numbers: above, level with and below, by each measure, and what one node carries."""

from __future__ import annotations

from circuits.reproduction.relp import RELP
from circuits.reproduction.reproduced import Cell, ModelTable, markdown
from circuits.reproduction.verdicts import facts, verdicts
from interp.scores.agreement import Row


def row(pearson: float, spearman: float, without: float, near: float = 0.01) -> Row:
    around = (pearson - near, pearson + near)
    return Row("mlp", 20, pearson, around, spearman, (spearman, spearman), 1.0, 1.0, 5, 1.0, "m0@3", without, 0.5, 0.1)


def table(**cells: Row) -> ModelTable:
    """A table of atp and relp with these rows: a for attention outputs, m for MLPs, r for the stream."""
    kinds = {"r": "resid_pre", "a": "attn_out", "m": "mlp"}
    found = tuple(Cell(kinds[name[0]], name[2:], one, None) for name, one in cells.items())
    passes = {"exact": (24.6, 0.0), "atp": (2.0, 2.0), "relp": (2.0, 2.0)}
    right = {"clean": 1.0, "corrupt": 0.95}
    return ModelTable("toy", "toy", 20, 14, "ioi: built-in", "float32", right, passes, "", found)


def test_each_measure_says_where_the_paper_s_method_is_above_and_where_below() -> None:
    found = table(
        r_atp=row(0.60, 0.90, 0.70),
        r_relp=row(0.90, 0.70, 0.80),
        a_atp=row(0.98, 0.80, 0.98),
        a_relp=row(0.97, 0.80, 0.97),
        m_atp=row(0.20, 0.50, 0.30),
        m_relp=row(0.99, 0.50, 0.25),
    )
    by_pearson, without, by_rank, carried = verdicts(found, RELP)
    assert by_pearson == (
        "By Pearson relp is above atp on residual stream, MLP outputs; below atp on attention outputs (intervals overlap)."
    )
    assert without == (
        "Without the largest node of each relp is above atp on residual stream; below atp on attention outputs, MLP outputs."
    )
    assert by_rank.startswith(
        "By rank (Spearman) relp is level with atp on attention outputs, MLP outputs; below atp on"
    )
    assert "MLP outputs of relp (m0@3)" in carried and "attention" not in carried


def test_nothing_is_said_of_methods_that_were_not_run() -> None:
    found = table(r_atp=row(0.6, 0.9, 0.7), a_atp=row(0.6, 0.9, 0.7), m_atp=row(0.6, 0.9, 0.7))
    assert verdicts(found, RELP) == []
    first, passes, printed = facts(found, RELP)
    assert "20 pairs of 14 tokens" in first and "100 % of the clean prompts and 95 % of the corrupt prompts" in first
    assert "exact 25 + 0, atp 2 + 2" in passes and "60 nodes" in passes
    assert printed == "Printed: nothing, no figure of the paper for this model is known here."


def test_a_cell_cannot_break_a_table_in_markdown() -> None:
    assert markdown(["a", "b"], [["x|y", "1"]]) == "| a | b |\n| --- | --- |\n| x&#124;y | 1 |\n"
