"""Which columns of a task file are read: ours, and those of feature-circuits and EAP-IG."""

from __future__ import annotations

from typing import Final

#: Those that hold prompts, whose cells are never read as JSON.
PROMPTS: Final = (
    *("clean", "clean_prefix", "corrupt", "corrupted", "corrupted_hard", "patch_prefix"),
    *("decoder", "clean_decoder", "corrupt_decoder", "second", "clean_second", "corrupt_second"),
)
#: Ours -> what it may be called.
COLUMNS: Final = {
    "clean": ("clean", "clean_prefix", "clean_messages"),
    "corrupt": ("corrupt", "corrupted", "patch_prefix", "corrupt_messages"),
    "answer": ("answer", "answers", "clean_answer"),
    "wrong": ("wrong", "patch_answer"),
    "answer_id": ("answer_id", "answer_ids", "correct_idx"),
    "wrong_id": ("wrong_id", "wrong_ids", "incorrect_idx"),
}
#: Every column that is read.
READ: Final = (
    *(name for names in COLUMNS.values() for name in names),
    *("clean_ids", "corrupt_ids", "label", "spans"),
    *(f"{side}{what}" for side in ("", "clean_", "corrupt_") for what in ("decoder", "second")),
)
#: The columns by which a header is known.
NEEDED: Final = (COLUMNS["clean"], COLUMNS["corrupt"])
