"""Pictures and pages to look at, as formats: `.svg`, `.png` and `.html`. Written, not read."""

from __future__ import annotations

from pathlib import Path

from circuits.interchange.contents import Contents
from circuits.interchange.strict import InterchangeError
from circuits.report.picture import save_picture


def write(contents: Contents, path: Path, extension: str) -> list[Path]:
    """The circuit, with what is known of its parts; else the scores. Raises: InterchangeError for a path with another extension."""
    if path.suffix.lower() != extension:
        raise InterchangeError(
            f"{str(path)!r} given for a picture of format {extension[1:]!r}; its name must end with {extension}."
        )
    if contents.circuit is not None:
        return [
            save_picture(
                contents.circuit, path, scores=contents.scores, edges=contents.edges, evaluation=contents.evaluation
            )
        ]
    if contents.scores is None:
        raise InterchangeError("neither scores nor a circuit given; expected one of them or both.")
    return [save_picture(contents.scores, path)]
