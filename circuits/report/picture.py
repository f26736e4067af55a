"""Values as files to show: `.svg` without a browser, `.png` by one, `.html` for the interactive page of a circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from circuits.circuit.circuit import Circuit
from circuits.evaluation.evaluation import Evaluation
from circuits.report import standalone
from circuits.report.browser import PictureError, as_png
from circuits.report.pages import circuit_page
from circuits.terms.kinds import kinds_checked
from interp.errors import unknown
from interp.files import replacing
from interp.scores.scores import Scores

__all__ = ["KINDS", "PictureError", "save_picture"]

KINDS: Final = (".svg", ".png", ".html")


@kinds_checked
def save_picture(
    value: Scores | Circuit | Evaluation | tuple[Scores, Scores],
    path: str | Path,
    *,
    scores: Scores | None = None,
    edges: Scores | None = None,
    evaluation: Evaluation | None = None,
) -> Path:
    """Write scores, a circuit, an evaluation, or a pair (an approximation, exact scores) as a picture; the path written.

    The extension tells the format: `.svg` stands alone and needs no browser; `.png` is made by Chromium or Chrome (named by
    INTERP_BROWSER or on the path) at twice the size; `.html`, for circuits, is the interactive page. Of a circuit: `scores` give
    colour and size, `edges` are scores of the edges between the nodes of a circuit of nodes or features, `evaluation` goes into
    the page. A file that exists is replaced at once.

    Raises: PictureError for another extension or value, a folder that does not exist, or a .png without a browser.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise PictureError(unknown("kind of picture", path.suffix, KINDS))
    if not isinstance(value, Circuit) and any(x is not None for x in (scores, edges, evaluation)):
        raise PictureError(
            f"scores, edges and evaluation go with a circuit; given a picture of {type(value).__name__}."
        )
    content = _page(value, scores, evaluation, edges) if kind == ".html" else _drawn(value, scores, edges, kind)
    if not path.parent.is_dir():
        raise PictureError(f"folder {str(path.parent)!r} does not exist; make it first.")
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise PictureError(f"cannot write {str(path)!r}: {error.strerror or error}.") from error
    return path


def _drawn(value: Any, scores: Scores | None, edges: Scores | None, kind: str) -> bytes:
    if isinstance(value, Circuit):
        found = standalone.circuit_picture(value, scores, edges)
    elif isinstance(value, Scores):
        found = standalone.scores_picture(value)
    elif isinstance(value, Evaluation):
        found = standalone.evaluation_picture(value)
    elif isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, Scores) for v in value):
        found = standalone.agreement_picture(*value)
    else:
        raise PictureError(
            f"{type(value).__name__} cannot be drawn; expected Scores, a Circuit, an Evaluation, or a pair of an approximation and exact scores."
        )
    return found.text.encode() if kind == ".svg" else as_png(found.text, found.width, found.height)


def _page(value: Any, scores: Scores | None, evaluation: Evaluation | None, edges: Scores | None) -> bytes:
    if not isinstance(value, Circuit):
        raise PictureError(f"{type(value).__name__} has no interactive page; save it as .svg or .png.")
    return circuit_page(value, scores, evaluation, edges=edges).encode()
