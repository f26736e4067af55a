"""What a run that is done says of itself: in `training.json`, and in the files of each dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from interp.dictionaries.training.checkpoints import folder
from interp.dictionaries.training.data.buffer import ORDER_BYTES
from interp.dictionaries.training.loop.loop import Training


def details(training: Training) -> dict[str, Any]:
    """What a dictionary's own files say about how it came about."""
    keys = ("tokens", "batch_tokens", "context", "keep_bos", "seed")
    model, data = training.identity["model"], training.identity["data"]
    return {"model_name": model["name"], "model_sha256": model["sha256"], "dataset_path": data["name"]} | {
        f"trained_{key}": training.identity[key] for key in keys
    }


def record(training: Training, now: Mapping[str, Any]) -> dict[str, Any]:
    """`training.json` of a run that is done."""
    row_bytes = sum(x[0].numel() * x.element_size() for x in training.buffer.slots.values())
    seen = training.steps * training.buffer.batch
    return {
        "status": folder.COMPLETE,
        "identity": training.identity,
        "environment": now,
        "source": training.source.state(),
        "buffer_bytes": training.buffer.capacity * (row_bytes + ORDER_BYTES),
        "steps": training.steps,
        "seconds": round(training.seconds, 2),
        "tokens_per_second": round(seen / training.seconds, 1),
        "peak_memory_bytes": folder.peak_memory(),
        "final": {name: rows[-1] for name, rows in training.log.items()},
        "log": training.log,
    }
