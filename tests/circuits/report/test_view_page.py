"""The interactive view as a part of a page: its scripts are safe, and its words are those of the run."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuits.anatomy.anatomy import Anatomy, Missing
from circuits.report import page, pages
from circuits.report.drawing.view_picture import chosen
from circuits.report.page.page import TABLES
from circuits.report.pages import circuit_page, render
from tests.circuits.report.test_report import bare
from tests.circuits.report.view.test_report_view import checked_record, seen
from tests.circuits.runs.edge_records import edge_record, node_record
from tests.circuits.runs.records import a_record

FOLDER = Path(page.__file__).parent

SCRIPTS = sorted(FOLDER.glob("scripts/*.js"))


def test_a_circuit_alone_is_a_whole_page() -> None:
    record = edge_record(n=12)
    assert record.circuit is not None
    page = circuit_page(record.circuit, record.scores[0], record.evaluation)
    assert '<section id="circuit"' in page and '<section id="ranking"' not in page
    assert re.findall(r"<h1><bdi>(.*?)</bdi>", page) == ["Circuit of they_plural on stories260K"]
    assert circuit_page(record.circuit).count("<table id=") == 1


def test_a_report_without_a_circuit_has_no_view() -> None:
    page = render(replace(a_record(), circuit=None, evaluation=None))
    assert "cytoscape=" not in page.lower() and 'id="view"' not in page and 'id="data"' not in page
    assert len(page.encode()) < 400_000 < len(render(a_record()).encode()) < 4e6


def test_the_table_of_the_circuit_lists_its_parts_in_order() -> None:
    record = edge_record(n=30)
    page = bare(render(record))
    table = page[page.index('<table id="circuit-table"') :]
    names = re.findall(r'<th scope="row"><bdi>(.*?)</bdi>', table[: table.index("</table>")])
    assert record.circuit is not None and names == [
        p.name.replace("<", "&lt;").replace(">", "&gt;") for p in record.circuit
    ]


def test_the_vendored_file_is_the_one_that_its_name_and_sum_say() -> None:
    (line,) = (FOLDER / "vendor" / "SHA256SUMS").read_text(encoding="utf-8").split("\n")[:1]
    digest, name = line.split()
    content = (FOLDER / "vendor" / name).read_bytes()
    version = re.fullmatch(r"cytoscape-(.*)\.min\.js", name)
    assert version and hashlib.sha256(content).hexdigest() == digest
    assert f'"{version[1]}"' in content.decode() and f"vendor/{name}" in pages.VIEW
    licence = (FOLDER / "vendor" / "cytoscape-LICENSE.txt").read_text(encoding="utf-8")
    begins = "Permission is hereby granted, free of charge"
    assert begins in licence and begins in content[:2000].decode()


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_our_scripts_never_make_markup_of_text(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|setTimeout\(\s*['\"`]|</script|<!--"
    assert not re.search(banned, source)
    assert '"use strict";' in source and source.count("\n") < 300
    assert not re.findall(r"^(?:var|let|const|function|class)\b", source, re.MULTILINE)


def test_every_script_is_in_the_page() -> None:
    assert {path.name for path in SCRIPTS} == {Path(name).name for name in (*pages.VIEW[1:], *TABLES)}


def test_the_data_of_the_page_is_that_of_the_view() -> None:
    record = node_record()
    (block,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', render(record), re.DOTALL)
    expected = {key: value for key, value in seen(record).items() if key != "table"}
    assert json.loads(block)["view"] == json.loads(json.dumps(expected))


def test_edges_of_a_circuit_of_nodes_are_called_estimates() -> None:
    assert seen(node_record())["arrows"] == "arrows: estimated by relp, not checked in this run"
    assert seen(edge_record())["arrows"] == "" == seen(a_record())["arrows"]
    assert "arrows: estimated by relp" in render(node_record())
    why = Anatomy(missing=(Missing("arrows", "no <b> of \u202e memory."),))
    said = seen(node_record(anatomy=why))["arrows"]
    assert said.startswith("arrows: estimated by relp, not checked in this run: no <b> of ") and "\u202e" not in said
    assert "no &lt;b&gt; of" in render(node_record(anatomy=why))


@pytest.mark.parametrize(
    ("error", "times", "words"),
    [
        (0, 1.0, ""),
        (40, 1.0, "do not trust the estimated ones"),
        (0, 0.25, r"there the estimates are 0\.2\d times the exact scores"),
    ],
)
def test_arrows_that_were_patched_are_called_exact_and_the_others_come_with_their_agreement(
    error: int, times: float, words: str
) -> None:
    record = checked_record(error, 24, times)
    assert record.anatomy is not None and record.anatomy.arrows is not None and record.node_edges is not None
    found, row = seen(record), record.anatomy.arrows["all"]
    names = {part.name for part in np.array(record.node_edges.parts)[record.node_edges.exact]}
    assert len(names) == 24 and row.pearson is not None
    for edge in found["edges"]:
        assert edge["known"] == ("exact" if edge["name"] in names else "estimated (by relp)")
    n = sum(edge["name"] in names for edge in found["edges"])
    said = found["arrows"]
    assert said.startswith(
        f"arrows: {n} exact, {len(found['edges']) - n} estimated by relp (Pearson r = {row.pearson:.2f} ["
    )
    assert "on the 24 checked, which have the largest estimates" in said and re.search(words, said)
    assert ("do not trust" in said) == (row.pearson < 0.7) == (error > 1)
    assert ("times the exact" in said) == (abs(np.log2(row.slope or 1)) > 1)
    page = render(record)
    assert said in page and page.count(", exact</title>") == sum(e["name"] in names for e in chosen(found)[1])


def test_a_circuit_is_shown_with_what_is_known_of_it() -> None:
    record = node_record()
    assert record.circuit is not None
    bare, full = (
        record.circuit.show()._repr_html_(),
        record.circuit.show(record.scores[0], record.evaluation, record.node_edges)._repr_html_(),
    )
    for shown in (bare, full):
        assert shown.count('sandbox="allow-scripts"') == 1 and "allow-same-origin" not in shown

    assert "arrows: estimated by relp" in full and "arrows:" not in bare
    assert "&lt;div class=&#34;view-size&#34; hidden&gt;" in bare and "&lt;div class=&#34;view-size&#34;&gt;" in full
    assert str(record.circuit.show()) == str(record.circuit)
