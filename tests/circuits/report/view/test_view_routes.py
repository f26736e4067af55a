"""The arrows of a drawn circuit pass no box that is not theirs, in the picture and as Cytoscape draws them."""

from __future__ import annotations

import pytest

from circuits.report.drawing.view_picture import chosen
from tests.circuits.report.drawing.test_report_routes import RECORDS, in_picture, in_view
from tests.circuits.report.view.test_report_view import seen


@pytest.mark.parametrize("kind", RECORDS)
def test_arrows_pass_no_box_that_is_not_theirs(kind: str) -> None:
    found = seen(RECORDS[kind]())
    drawn = {edge["name"] for edge in chosen(found)[1]}
    for near in (in_picture(found), in_view(found)):
        assert near.keys() == drawn and len(drawn) > 10
        assert min(near.values()) > 0.9, min(near.items(), key=lambda item: item[1])
