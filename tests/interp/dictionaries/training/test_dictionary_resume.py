"""A training that is killed, at whatever point, goes on and ends with the same bits as one that was not; what is refused is in
`test_dictionary_resume_refused`."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from interp.dictionaries.training.checkpoints import checkpoint, folder
from interp.dictionaries.training.checkpoints.folder import read_record
from interp.dictionaries.training.steps.learner import Learner
from interp.dictionaries.training.train_dictionaries import train_dictionaries
from tests.house import ROOT
from tests.interp.dictionaries.training.data.trained import documents
from tests.interp.model import tiny

SPECS = [
    {"site": "resid_post.0", "d_sae": 40, "k": 5, "architecture": "batchtopk", "dead_feature_window": 2},
    {"site": "resid_post.0", "d_sae": 32, "architecture": "jumprelu", "l0_warm_up_steps": 5},
    {"site": "mlp_normed.1", "d_sae": 32, "architecture": "skip_transcoder"},
]
RUN = {
    "tokens": 1300,
    "batch_tokens": 100,
    "context": 16,
    "buffer": 400,
    "hold_out": 0.2,
    "checkpoint_every": 3,
    "show_progress": False,
}
DATA = 40


class Killed(BaseException):
    """What no handler of the package catches."""


def train(out: Path, *, resume: bool = False, **changes: Any) -> None:
    data = documents(DATA)
    train_dictionaries(tiny.hooked("llama"), data, SPECS, out=out, resume=resume, **{**RUN, **changes})


def go_on(out: Path, **changes: Any) -> None:
    """Resume, or begin again where the run was killed before it wrote anything."""
    train(out, resume=(out / folder.RECORD).exists(), **changes)


def weights(out: Path) -> dict[str, str]:
    """SHA-256 of everything that was learnt, by file."""
    found = sorted(out.rglob("sae_weights.safetensors"))
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(out)
    assert len(weights(out)) == 3
    return out


# ---------------------------------------------------------------- faults inside the process


def points(monkeypatch: pytest.MonkeyPatch, kill_at: int) -> list[str]:
    """Count every step of a run at which a kill would find it in another state; die before the `kill_at`-th of them.

    A tensor file is left half written where the kill falls on its middle.
    """
    seen: list[str] = []

    def reached(what: str) -> None:
        seen.append(what)
        if len(seen) == kill_at:
            raise Killed(what)

    def before(owner: Any, name: str) -> None:
        own = getattr(owner, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            reached(f"{getattr(owner, '__name__', owner)}.{name}")
            return own(*args, **kwargs)

        monkeypatch.setattr(owner, name, called)

    def half(path: Path, tensors: Any) -> None:
        written(path, tensors)
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        reached("half a tensor file")
        path.write_bytes(content)

    written = checkpoint._write_tensors
    monkeypatch.setattr(checkpoint, "_write_tensors", half)
    for owner, name in (
        (checkpoint, "_write_json"), (checkpoint, "_sync"), (checkpoint, "remove"), (Path, "rename"), (Path, "mkdir"), (shutil, "rmtree"),
        (Learner, "learn"), (Learner, "prepare"), (folder, "begin"), (folder, "save_dictionary"), (folder, "write_record"), (Path, "replace"),
    ):  # fmt: skip
        before(owner, name)
    return seen


@pytest.fixture(scope="module")
def n_points(tmp_path_factory: pytest.TempPathFactory) -> int:
    out = tmp_path_factory.mktemp("points") / "run"
    with pytest.MonkeyPatch.context() as patched:
        seen = points(patched, 0)
        train(out)
    assert {"half a tensor file", "Path.rename", "shutil.rmtree", "Learner.learn", "Path.replace"} <= set(seen)
    return len(seen)


@pytest.mark.broad
@pytest.mark.parametrize("part", range(24))
def test_killed_anywhere_it_ends_with_the_same_weights(part: int, n_points: int, whole: Path, tmp_path: Path) -> None:
    at = 1 + round(part * (n_points - 1) / 23)
    with pytest.MonkeyPatch.context() as patched:
        points(patched, at)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    go_on(tmp_path / "run")
    assert weights(tmp_path / "run") == weights(whole)
    one, other = read_record(tmp_path / "run"), read_record(whole)
    assert one is not None and other is not None
    assert one["log"] == other["log"] and one["source"] == other["source"]
    assert not (tmp_path / "run" / checkpoint.FOLDER).exists()


def test_killed_again_and_again(whole: Path, tmp_path: Path) -> None:
    rng, out = random.Random(0), tmp_path / "run"
    for _ in range(6):
        with pytest.MonkeyPatch.context() as patched:
            points(patched, rng.randrange(4, 18))
            with pytest.raises(Killed):
                go_on(out)
    train(out, resume=True)
    assert weights(out) == weights(whole)


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path) -> None:
    one, other = {"a": {"x": torch.zeros(5)}}, {"a": {"x": torch.ones(5)}}
    count = 0
    while True:
        count += 1
        out = tmp_path / str(count)
        out.mkdir()
        checkpoint.write(out, 1, {"n": 1}, one)
        with pytest.MonkeyPatch.context() as patched:
            seen = points(patched, count)
            with suppress(Killed):
                checkpoint.write(out, 2, {"n": 2}, other)
        found = checkpoint.read(out)
        assert found is not None
        assert float(found[1]["a"]["x"].sum()) == (0 if found[0]["n"] == 1 else 5)
        if len(seen) < count:
            break
    assert count > 6 and found[0]["n"] == 2


# ---------------------------------------------------------------- real kills

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.interp.dictionaries.training.test_dictionary_resume import go_on
go_on(Path({out!r}), checkpoint_every=1)
"""


def _killed(out: Path, step: int, wait: float) -> bool:
    """Start a run and kill -9 it `wait` seconds after the checkpoint of a step; whether it was still running."""
    root = str(ROOT)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(root=root, out=str(out))], env={**os.environ, "PYTHONPATH": root}
    )
    place = out / checkpoint.FOLDER
    while process.poll() is None:
        if any(int(path.name[5:]) >= step for path in place.glob("step-*")):
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.001)
    code = process.wait()
    assert code in (-signal.SIGKILL, 0)
    return code != 0


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9(kills: int, whole: Path, tmp_path: Path) -> None:
    rng, killed = random.Random(kills), 0
    for i in range(kills):
        out = tmp_path / str(i)
        killed += _killed(out, rng.randrange(1, 12), rng.random() * 0.02)
        train(out, resume=True, checkpoint_every=1)
        assert weights(out) == weights(whole)
    assert killed  # a run that was done before is nothing to go on with


def test_ctrl_c_waits_for_the_step_and_leaves_a_checkpoint(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, steps = Learner.learn, []

    def pressed(self: Learner, *given: Any) -> Any:
        steps.append(1)
        if len(steps) == 4 * len(SPECS) + 1:  # in the middle of step 5
            signal.raise_signal(signal.SIGINT)
        return learn(self, *given)

    monkeypatch.setattr(Learner, "learn", pressed)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", checkpoint_every=1000)
    assert [path.name for path in (tmp_path / "run" / checkpoint.FOLDER).iterdir()] == ["step-00000005"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train(tmp_path / "run", resume=True)
    assert weights(tmp_path / "run") == weights(whole)


# ---------------------------------------------------------------- runs that are done


def test_a_complete_run_is_given_back(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Learner, "learn", lambda *_: pytest.fail("trained again"))
    before = weights(whole)
    train(whole, resume=True)
    assert weights(whole) == before


def test_a_checkpoint_is_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    train(tmp_path / "run", keep_checkpoint=True)
    assert [path.name for path in (tmp_path / "run" / checkpoint.FOLDER).iterdir()] == ["step-00000012"]
