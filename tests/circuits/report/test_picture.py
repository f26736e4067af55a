"""Pictures stand alone: well-formed SVG with what the values hold, PNG of exactly that size, and clear refusals."""

from __future__ import annotations

import os
import re
import stat
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from circuits.circuit.selection import discover
from circuits.report import browser
from circuits.report.picture import PictureError, save_picture
from circuits.report.standalone import style
from interp.attribution.request import attribute_all
from interp.parts.graph import Edge
from interp.scores.scores import Scores
from tests.circuits.runs.edge_records import edge_evaluation, edge_record, edge_scores
from tests.interp.model.tiny import hooked
from tests.interp.tasks.toy import toy_task

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "<img src=x onerror=alert(1)>\u202e\x00]]>&" + "x" * 10_000


@pytest.fixture(scope="module")
def found() -> dict[str, Scores]:
    return attribute_all(hooked("gpt2"), toy_task(), methods=["relp", "exact"], level="heads")


def drawn(path: Path) -> ElementTree.Element:
    """The picture as a reader of XML has it, whose size is that of its frame."""
    root = ElementTree.fromstring(path.read_bytes())
    assert root.tag == f"{SVG}svg"
    assert root.attrib["viewBox"] == f"0 0 {float(root.attrib['width']):.0f} {float(root.attrib['height']):.0f}"
    return root


def texts(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{SVG}text")]


def titles(root: ElementTree.Element) -> list[str]:
    return [node.text or "" for node in root.iter(f"{SVG}title")]


def safe(root: ElementTree.Element) -> None:
    """Nothing in it runs or loads anything."""
    for node in root.iter():
        assert node.tag.removeprefix(SVG) in {
            "svg",
            "title",
            "desc",
            "style",
            "g",
            "rect",
            "text",
            "line",
            "path",
            "circle",
        }
        assert not [name for name in node.attrib if name.startswith("on") or "href" in name or name == "style"]
    (own,) = root.iter(f"{SVG}style")
    assert own.text and "url(" not in own.text and "@import" not in own.text and "var(" not in own.text


def test_the_style_has_every_rule_with_its_colour() -> None:
    rules = dict(re.findall(r"svg ([.a-z][\w. -]*?) \{([^}]*)\}", style()))
    assert "fill: #e2680c" in rules[".pos"] and "fill: #3a84cd" in rules[".neg"]
    assert {".edge.pos", ".edge.neg", ".k0", ".k5", ".own-line", ".box"} <= set(rules)


def test_scores_of_nodes_are_a_map_with_every_score(found: dict[str, Scores], tmp_path: Path) -> None:
    root = drawn(save_picture(found["relp"], tmp_path / "s.svg"))
    safe(root)
    shown = titles(root)
    for part, mean in zip(found["relp"].parts, found["relp"].mean.tolist(), strict=True):
        (line,) = [title for title in shown if title.startswith(f"{part.name}: ")]
        value = float(line.split(": ")[1].split(" ")[0].replace("\u2212", "-"))
        assert value == pytest.approx(mean, rel=0.01, abs=0.01 * np.abs(found["relp"].mean).max())
    assert any("relp" in text for text in texts(root))


def test_a_circuit_of_edges_has_its_edges_and_nodes(tmp_path: Path) -> None:
    record = edge_record(n=30)
    assert record.circuit is not None
    root = drawn(save_picture(record.circuit, tmp_path / "c.svg", scores=record.scores[0]))
    safe(root)
    shown = titles(root)
    assert {title.partition(": ")[0] for title in shown if "->" in title} == {e.name for e in record.circuit.edges}
    assert {node.name.partition("<")[0] for node in record.circuit.nodes} <= set(texts(root))


def test_circuits_of_nodes_evaluations_and_agreements_are_drawn(found: dict[str, Scores], tmp_path: Path) -> None:
    circuit = discover(found["relp"], n=3)
    root = drawn(save_picture(circuit, tmp_path / "c.svg"))
    assert {node.name for node in circuit.nodes} <= set(texts(root))
    evaluation = edge_evaluation(30, 479)
    said = texts(drawn(save_picture(evaluation, tmp_path / "e.svg")))
    assert any("30 of 479" in text for text in said)
    root = drawn(save_picture((found["relp"], found["exact"]), tmp_path / "a.svg"))
    safe(root)
    points = {title.partition(": ")[0] for title in titles(root) if ": exact " in title}
    (outside,) = [text for text in texts(root) if text.startswith("not drawn")]
    assert points | {"embed"} == {part.name for part in found["exact"].parts} and "embed (exact " in outside


def test_hostile_names_are_text_and_the_picture_stays_whole(tmp_path: Path) -> None:
    def tags(name: str) -> list[str]:
        record = edge_record(task=name, unit=name, model=name)
        assert record.circuit is not None
        edge = record.circuit.edges[0]
        placed = edge_scores((Edge(edge.sender, edge.receiver, name),), 1, "relp", positions="spans", unit=name)
        circuit = replace(record.circuit, task=name, model=name, selection=name)
        evaluation = replace(edge_evaluation(30, 479), metric=name, unit=name, reason=name)
        kept = []
        for value in (record.scores[0], placed, circuit, evaluation):
            root = drawn(save_picture(value, tmp_path / "x.svg"))
            safe(root)
            kept += [node.tag for node in root.iter()]
        return kept

    assert tags(NASTY) == tags("plain")


def test_the_same_value_gives_the_same_bytes(found: dict[str, Scores], tmp_path: Path) -> None:
    first = save_picture(found["relp"], tmp_path / "a.svg").read_bytes()
    assert save_picture(found["relp"], tmp_path / "b.svg").read_bytes() == first
    assert {path.name for path in tmp_path.iterdir()} == {"a.svg", "b.svg"}


# ------------------------------------------------------------ PNG


def png(rows: np.ndarray) -> bytes:
    """A PNG of rows [y x 3], each filtered by what is above it."""
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    lines = b"".join(b"\x02" + (row - up).astype(np.uint8).tobytes() for row, up in zip(rows, above, strict=True))
    head = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def pixels(data: bytes) -> np.ndarray:
    """What a PNG without filters but `up` shows [y x 3]."""
    wide, high = struct.unpack(">II", data[16:24])
    at, body = 8, b""
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, chunk = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size])[0] == zlib.crc32(kind + chunk)
        body += chunk if kind == b"IDAT" else b""
        at += 12 + size
    lines = np.frombuffer(zlib.decompress(body), np.uint8).reshape(high, 1 + 3 * wide)
    assert set(lines[:, 0]) == {2}
    return np.cumsum(lines[:, 1:].astype(np.uint64), axis=0).astype(np.uint8).reshape(high, wide, 3)


def test_a_png_is_cut_to_its_size() -> None:
    rows = np.random.default_rng(0).integers(0, 256, (9, 5, 3)).astype(np.uint8)
    assert np.array_equal(pixels(png(rows)), rows)
    assert np.array_equal(pixels(browser.cut(png(rows), 5, 6)), rows[:6])
    for width, height in ((4, 6), (5, 10)):
        with pytest.raises(PictureError, match="the browser drew 5 x 9 pixels"):
            browser.cut(png(rows), width, height)
    with pytest.raises(PictureError, match="plain PNG"):
        browser.cut(b"no picture", 5, 6)


def test_a_png_by_the_browser_is_twice_as_large(found: dict[str, Scores], tmp_path: Path) -> None:
    try:
        browser.browser()
    except PictureError as none:
        pytest.skip(str(none))
    root = drawn(save_picture(found["relp"], tmp_path / "s.svg"))
    data = save_picture(found["relp"], tmp_path / "s.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == (2 * float(root.attrib["width"]), 2 * float(root.attrib["height"]))
    assert len(zlib.compress(data)) > 3000


def program(folder: Path, body: str) -> Path:
    path = folder / "browser"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("exit 3", "failed with 3"),
        ("echo oh no >&2; exit 1", "oh no"),
        ("exit 0", "wrote no picture"),
        ("sleep 9", "took more"),
    ],
)
def test_a_browser_that_fails_is_told(
    body: str, message: str, found: dict[str, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(browser.VARIABLE, str(program(tmp_path, body)))
    monkeypatch.setattr(browser, "TIMEOUT", 0.5)
    with pytest.raises(PictureError, match=message):
        save_picture(found["relp"], tmp_path / "s.png")
    assert not (tmp_path / "s.png").exists()


def test_without_a_browser_the_message_says_what_to_do(
    found: dict[str, Scores], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(browser.VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PictureError, match=r"install Chromium or Chrome.*save \.svg"):
        save_picture(found["relp"], tmp_path / "s.png")
    monkeypatch.setenv(browser.VARIABLE, "no such program")
    with pytest.raises(PictureError, match="is no program that can be run"):
        save_picture(found["relp"], tmp_path / "s.png")


# ------------------------------------------------------------ refusals, formats, command line


def test_a_circuit_as_an_interactive_page(found: dict[str, Scores], tmp_path: Path) -> None:
    circuit = discover(found["relp"], n=3)
    text = save_picture(circuit, tmp_path / "c.html", scores=found["relp"]).read_text()
    assert text.lower().startswith("<!doctype html") and "default-src 'none'" in text
    assert all(node.name in text for node in circuit.nodes)
