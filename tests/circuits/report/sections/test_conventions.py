"""The conventions in a report."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from circuits.report.sections.context import conventions
from tests.circuits.runs.edge_records import GROUPED, edge_record
from tests.circuits.runs.records import a_record


def test_conventions_leave_out_what_does_not_apply_and_count_what_is_exact() -> None:
    scores = a_record().scores[0]
    exact = np.arange(len(scores.parts)) < 3
    said = {f["name"]: f["value"] for f in conventions(replace(scores, exact=exact))["facts"]}
    assert said["exact patching"] == f"3 of {len(scores.parts)}"
    assert not {"dictionaries", "kv", "split positions"} & set(said)
    edges = {f["name"]: f["value"] for f in conventions(edge_record(GROUPED).scores[0])["facts"]}
    assert {"kv", "split positions"} <= set(edges) and "dictionaries" not in edges
    eager = replace(scores, provenance=replace(scores.provenance, attention="eager", n_pairs=1))
    said = {f["name"]: f["value"] for f in conventions(eager)["facts"]}
    assert said["attention"].startswith("eager in these runs") and said["pairs"] == "1 pair"
