"""Probes, erasers, subspaces and circles on models: a planted label is found and erased, edits do what they say, and bad input is refused."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.errors import ProbeError
from interp.probes.circles import circle
from interp.probes.erase import erase
from interp.probes.probe_sites import probe
from interp.probes.probes import COLUMNS, EVERY, MOST_COMMON, ROTATED, SHUFFLED, Probes
from interp.probes.reads import read_labelled
from interp.probes.subspace import Subspace
from tests.interp.model.encoders.models import hooked as encoder
from tests.interp.model.tiny import VOCAB, hooked


@cache
def model(name: str = "llama") -> Any:
    return hooked(name)


def lines(n: int = 60, length: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    """Label 1: the last token is below the middle of the vocabulary."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        ids = rng.integers(3, VOCAB, size=length + i % 2)
        ids[-1] = rng.integers(3, VOCAB // 2) if i % 2 else rng.integers(VOCAB // 2, VOCAB)
        found.append({"tokens": ids.tolist(), "label": i % 2, "group": f"g{i // 2 % 12}{i % 2}"})
    return found


def test_reads_are_those_of_single_runs() -> None:
    given = lines(24)
    for pool in ("last", "mean", -2):
        found = read_labelled(model(), given, ["resid_post.1", "z.0"], pool)
        for site, x in found.values.items():
            for one, row in zip(given, x, strict=True):
                with torch.no_grad():
                    own = model().run(torch.tensor([one["tokens"]]), reads=[site])[site][0].flatten(1)
                begins = getattr(model().tokenizer, "bos_token_id", None)
                kept = [i for i, t in enumerate(one["tokens"]) if t != begins]
                wanted = own[kept].mean(0) if pool == "mean" else own[-1 if pool == "last" else -2]
                np.testing.assert_allclose(row, wanted, rtol=1e-3, atol=1e-4)


def test_a_neuron_that_is_the_label_is_found_by_layer_and_number() -> None:
    given = lines(60)
    reads = read_labelled(model(), given, ["mlp_post"])
    site = next(s for s in reads.values if s.layer == 1)
    reads.values[site][:, 17] = 3 * reads.values[site].std(0).max() * reads.labels
    found = probe(model(), reads, ["mlp_post"], k=(1, 2), shuffles=4)
    assert found.best(1).site == "mlp_post.1" and found.best(1).chosen == (17,)
    assert found.best(1).quality.auc.value == 1.0 and found.row("mlp_post.1", EVERY).k == 48
    assert found.row("mlp_post.1", ROTATED, 1).quality.auc.value < 1.0
    assert found.row("mlp_post.1", MOST_COMMON).quality.auc.value == 0.5


@pytest.mark.parametrize("by", ["example", "group"])
def test_rows_files_and_pictures(by: str, tmp_path: Path) -> None:
    found = probe(model(), lines(), ["resid_post.0"], by=by, shuffles=4)
    assert {row.k for row in found.rows if row.what == COLUMNS} == {1, 2, 4, 8, 16}
    shuffled = found.row("resid_post.0", SHUFFLED).quality.auc
    assert shuffled.low <= shuffled.value <= shuffled.high
    found.save(tmp_path / "probes.parquet")
    assert Probes.load(tmp_path / "probes.parquet").rows == found.rows
    assert "AUC" in str(found) and len(found.to_pandas()) == len(found) and "resid_post.0" in found._repr_html_()
    assert found.plot().data


def test_encoders_are_probed_and_erased() -> None:
    bert = encoder("bert")
    rng = np.random.default_rng(0)
    given = [{"tokens": [2, *rng.integers(5, 20, size=4).tolist(), 3], "label": i % 2} for i in range(40)]
    assert len(probe(bert, given, "resid_post", k=1, shuffles=2)) >= 5
    assert erase(bert, given, "resid_post.0").rank == 1


@pytest.mark.parametrize("method", ["leace", "inlp", "mean_projection", "sal"])
def test_what_is_erased_is_gone_and_files_keep_it(method: str, tmp_path: Path) -> None:
    found = erase(model(), lines(80), "resid_post.0", method)
    assert set(found.checks) == {
        "linear_before",
        "nonlinear_before",
        "linear_after",
        "nonlinear_after",
        "kl",
        "kl_random",
    }
    assert found.checks["kl"] >= 0 and found.checks["linear_after"] <= found.checks["linear_before"]
    found.save(tmp_path / "subspace.parquet")
    loaded = Subspace.load(tmp_path / "subspace.parquet")
    assert torch.equal(loaded.basis, found.basis) and loaded.checks == found.checks and loaded.centres == found.centres
    assert found.method in str(found) and len(found.to_pandas()) == len(found.basis) and found._repr_html_()


def plane_at(site: str = "resid_post.0", width: int = 32) -> Subspace:
    random = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(width, 2, generator=random, dtype=torch.float64)).Q
    mean = torch.randn(width, generator=random, dtype=torch.float64)
    return Subspace(site, "circle", q, q, mean, ((1.0, 0.0), (0.0, 2.0)))


def test_edits_change_coordinates_and_nothing_else() -> None:
    plane = plane_at()
    x = torch.randn(2, 3, 32, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    c = plane.coordinates(x)
    turned = torch.stack([-c[..., 1], c[..., 0]], -1)
    moved = torch.stack([torch.zeros_like(c[..., 0]), c.norm(dim=-1)], -1)
    wanted = {
        plane.project_out(): 0 * c,
        plane.replace([3.0, -1.0]): torch.tensor([3.0, -1.0], dtype=torch.float64).expand_as(c),
        plane.rotate(np.pi / 2): turned,
        plane.move_to(1): moved,
    }
    for edit, coordinates in wanted.items():
        new = edit.apply(x)
        torch.testing.assert_close(plane.coordinates(new), coordinates, atol=1e-6, rtol=0)
        torch.testing.assert_close((new - x) @ plane.projection, torch.zeros_like(x), atol=1e-6, rtol=0)
    kept = plane.keep_only().apply(x)
    torch.testing.assert_close(kept - plane.mean, (x - plane.mean) @ plane.basis @ plane.basis.T)
    torch.testing.assert_close(plane.angle_to(plane), torch.zeros(2, dtype=torch.float64), atol=1e-6, rtol=0)
    with torch.no_grad():
        ids = torch.tensor([[3, 9, 4]])
        run = model().run(ids, reads=["resid_post.0"], edits=[plane.project_out()])
        own = model().run(ids, reads=["resid_post.0"])
    assert not torch.equal(run.logits, own.logits)


def test_a_circle_of_tokens() -> None:
    rng = np.random.default_rng(0)
    given = [{"tokens": [*rng.integers(3, VOCAB, size=3).tolist(), 3 + i % 5], "label": i % 5} for i in range(50)]
    found = circle(model(), given, "resid_post.0", 5)
    assert found.rank == 2 and len(found.centres) == 5 and found.checks["r2"] <= 1 and found.checks["radius"] > 0
    with pytest.raises(ProbeError, match="0 different examples with label 5"):
        circle(model(), given, "resid_post.0", 6)
    with pytest.raises(ProbeError, match="two labels lie on a line"):
        circle(model(), given, "resid_post.0", 2)


def test_bad_input_is_refused(tmp_path: Path) -> None:
    given = lines()
    same = [*given, {**given[0], "label": 1}]
    broken = read_labelled(model(), given, "resid_post.0")
    few = [line | {"group": "one" if i % 2 else line["group"]} for i, line in enumerate(given)]
    file = tmp_path / "labels.jsonl"
    file.write_text("\n".join(map(json.dumps, given)))
    assert len(probe(model(), file, "resid_post.0", k="all", shuffles=2)) in (3, 4)
    refused: list[tuple[Any, dict[str, Any], str]] = [
        ([line | {"label": 1} for line in given], {}, "0 different examples with label 0"),
        (same, {}, "the same tokens have label 0 and label 1"),
        (few, {"by": "group"}, "1 different groups with label 1"),
        (given, {"k": 33}, "expected 1 to 32"),
        (given, {"k": 0}, "expected numbers of columns"),
        (given, {"k": "many"}, "expected numbers of columns"),
        (given, {"kind": "svm"}, "unknown kind of probe"),
        (given, {"selection": "luck"}, "unknown selection"),
        (given, {"by": "page"}, "unknown by"),
        (tmp_path / "none.jsonl", {}, "cannot be read"),
    ]
    for labels, options, message in refused:
        with pytest.raises(ProbeError, match=message):
            probe(model(), labels, "resid_post.0", **options)
    with pytest.raises(ProbeError, match="was not read"):
        probe(model(), broken, "resid_post.1")
    for options, message in (
        ({"rank": 17, "method": "inlp"}, "at most half"),
        ({"rank": 2}, "use method='inlp'"),
        ({"method": "luck"}, "unknown eraser"),
    ):
        with pytest.raises(ProbeError, match=message):
            erase(model(), given, "resid_post.0", **options)
    with pytest.raises(ProbeError, match="2 sites; expected one"):
        erase(model(), given, "resid_post")


def test_edits_that_do_not_fit_are_refused() -> None:
    plane = plane_at()
    line = Subspace("resid_post.0", "sal", plane.basis[:, :1], plane.basis[:, :1], plane.mean)
    with pytest.raises(ProbeError, match="expected a plane"):
        line.rotate(1.0)
    with pytest.raises(ProbeError, match="expected 2 finite numbers"):
        plane.replace([1.0])
    with pytest.raises(ProbeError, match="labels 0 to 1"):
        plane.move_to(2)
    with pytest.raises(ProbeError, match="which has width 16"):
        plane.project_out().apply(torch.zeros(1, 2, 16))
    with pytest.raises(ProbeError, match="expected one width"):
        plane.angle_to(plane_at(width=16))
