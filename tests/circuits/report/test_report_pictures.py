"""Reports of runs on images: the pictures with their numbers, as text too, and no harm from names."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from circuits.report.pages import render
from circuits.report.payload import payload
from circuits.runs.directory import RunError, open_run
from circuits.runs.record_files import load_record, save_record
from tests.circuits.runs.picture_records import NAMES, VALUES, picture_record
from tests.circuits.runs.records import a_record
from tests.interp.formatting.hostile import HARMLESS, Taking, filled
from tests.interp.formatting.tags import NASTY, Tags, around, every_tag_closed
from tests.interp.pictures.test_heat import tints


@pytest.fixture(scope="module")
def page() -> str:
    return render(picture_record())


def test_numbers_of_positions_are_over_the_picture_and_those_without_a_place_beside_it() -> None:
    data = payload(picture_record())
    (row,) = data["prompts"][0]["pictures"]["methods"]
    assert row["heat"]["values"] == list(VALUES) and row["heat"]["limit"] == 1.0
    assert row["heat"]["elsewhere"] == [{"name": "CLS", "value": 5.0}]
    assert row["heat"]["said"][2] == "r0c1: −0.50 logits"
    assert json.loads(json.dumps(data, allow_nan=False))["pictures"].keys() == {
        "pair-1-clean",
        "pair-1-corrupt",
        "example-1",
    }


def test_the_map_has_each_layer_over_the_input_on_one_scale() -> None:
    record = picture_record()
    (shown,) = payload(record)["position_maps"]
    assert record.position_map is not None
    means = {
        (n.layer, n.position): float(m)
        for n, m in zip(record.position_map.parts, record.position_map.mean, strict=True)
    }
    assert [row["layer"] for row in shown["pictured"]] == [0, 1]
    for row in shown["pictured"]:
        assert row["heat"]["values"] == [means[row["layer"], i] for i in range(len(NAMES))]
        assert row["heat"]["limit"] == max(abs(v) for (_, position), v in means.items() if position)


def test_where_heads_look_is_drawn_and_said(page: str) -> None:
    words = " ".join(re.sub(r"<[^>]*>", "", page).split())
    assert "a0.h1: CLS, where the answer is read, looks at CLS 50 %, r0c0 25 %, r0c1 12 %" in words
    figures = re.findall(r'aria-label="Where a[01]\.h[01] looks">(<svg.*?</svg>)', page, re.DOTALL)
    assert [len(tints(found)) for found in figures] == [3, 2]
    assert page.count("From every position") == 1, "of a head without rows there is no pattern"


def test_a_page_with_pictures_loads_nothing_and_holds_each_once(page: str) -> None:
    given = Tags(page)
    assert every_tag_closed(page) and not {"img", "link", "iframe"} & {tag[0] for tag in given.tags}
    hrefs = re.findall(r'href="([^"]*)"', page)
    assert all(href.startswith(("#", "data:image/png;base64,")) for href in hrefs)
    assert sum(href.startswith("data:") for href in hrefs) == 6, "three pictures, in colour and in grey"
    ids = set(given.ids)
    assert all(href[1:] in ids for href in hrefs if href.startswith("#"))
    assert "; img-src data:; base-uri" in page and "img-src" not in render(a_record())
    assert " style=" not in page and page == render(picture_record())


def test_hostile_names_do_no_harm() -> None:
    """Each text in several places, its neighbours hostile too."""
    benign = Tags(render(picture_record(Taking(HARMLESS)))).tags
    names, attributes = [tag[0] for tag in benign], {name for tag in benign for name in tag[1:]}
    for page in filled(lambda nasty: render(picture_record(around(nasty))), NASTY[::7], 4):
        found = Tags(page).tags
        assert [tag[0] for tag in found] == names and {name for tag in found for name in tag[1:]} <= attributes


def test_a_run_directory_keeps_pictures_and_refuses_what_is_none(tmp_path: Path) -> None:
    record = replace(picture_record(), manifest={})
    with open_run(tmp_path / "run", {"command": "discover"}) as folder:
        save_record(folder, record)
        (folder / "manifest.json").write_text('{"format": 1, "status": "complete"}')
    again = load_record(tmp_path / "run")
    assert again.prompts == record.prompts and again.anatomy == record.anatomy
    file = tmp_path / "run" / "prompts.json"
    shown = json.loads(file.read_text())
    shown["prompts"][0]["clean_picture"]["pixels"] = "PHN2ZyBvbmxvYWQ9eD4="
    file.write_text(json.dumps(shown))
    with pytest.raises(RunError, match="bytes for a picture"):
        load_record(tmp_path / "run")


def test_a_run_of_a_version_without_pictures_is_read() -> None:
    """Its patterns have rows alone, of which the last was shown."""
    record = picture_record()
    assert record.anatomy is not None
    (example,) = record.anatomy.examples
    older = replace(example, patterns=(replace(example.patterns[0], looks=()),), picture=None, reads="last", reader="")
    shown = render(replace(record, anatomy=replace(record.anatomy, examples=(older,)), prompts=()))
    words = " ".join(re.sub(r"<[^>]*>", "", shown).split())
    assert "a0.h1: the last token, r1c1, looks at CLS 20 %" in words
    assert np.isclose(sum(older.patterns[0].looked), 1.0)
