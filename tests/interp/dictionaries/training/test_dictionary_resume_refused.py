"""Going on with a training that was another one, or whose files are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError

from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training import train_dictionaries as run
from interp.dictionaries.training.checkpoints import checkpoint, folder
from interp.dictionaries.training.steps.learner import Learner
from interp.dictionaries.training.train_dictionaries import ResumeWarning, train_dictionaries
from tests.interp.dictionaries.training.data.trained import documents
from tests.interp.dictionaries.training.test_dictionary_resume import DATA, RUN, SPECS, Killed, points, train
from tests.interp.model import tiny


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """A run killed in step 5, after a checkpoint."""
    with pytest.MonkeyPatch.context() as patched:
        seen: list[int] = []
        learn = Learner.learn

        def die(self: Learner, *given: Any) -> Any:
            seen.append(1)
            if len(seen) > 4 * len(SPECS):
                raise Killed
            return learn(self, *given)

        patched.setattr(Learner, "learn", die)
        with pytest.raises(Killed):
            train(tmp_path / "run")
    return tmp_path / "run"


NAMES = ["resid_post.0-batchtopk-40", "resid_post.0-jumprelu-32", "mlp_normed.1-skip_transcoder-32"]
CHANGED: dict[str, tuple[Callable[[], Any], Any, list[dict[str, Any]], dict[str, Any], str]] = {
    "model": (lambda: tiny.hooked("llama", seed=1), None, SPECS, {}, "model.sha256 was"),
    "data": (lambda: None, 41, SPECS, {}, "data.sha256 was"),
    "tokens": (lambda: None, None, SPECS, {"tokens": 1400}, "tokens was 1300, now 1400"),
    "buffer": (lambda: None, None, SPECS, {"buffer": 500}, "buffer_tokens was 400, now 500"),
    "a dictionary": (
        lambda: None,
        None,
        SPECS[:2],
        {},
        f"was another: dictionaries were {', '.join(NAMES)}; now {', '.join(NAMES[:2])}. Give",
    ),
    "their order": (lambda: None, None, SPECS[::-1], {}, f"; now {', '.join(NAMES[::-1])}. Give"),
    "an option": (lambda: None, None, [{**SPECS[0], "k": 4}, *SPECS[1:]], {}, "options.k was 5, now 4"),
}


@pytest.mark.parametrize("what", CHANGED)
def test_another_run_is_refused_by_name(what: str, stopped: Path) -> None:
    model, n, specs, changes, words = CHANGED[what]
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(DictionaryError, match="cannot resume") as found:
        train_dictionaries(
            model() or tiny.hooked("llama"), documents(n or DATA), specs, out=stopped, resume=True, **{**RUN, **changes}
        )
    assert words in str(found.value)
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}


def test_a_run_is_not_begun_over_another(stopped: Path) -> None:
    with pytest.raises(DictionaryError, match=r"holds a training run \(not finished\): go on with resume"):
        train(stopped)


@pytest.mark.parametrize("there", [None, "empty", "hidden"])
def test_nothing_to_resume_is_refused_and_trains_nothing(there: str | None, tmp_path: Path) -> None:
    out = tmp_path / "run"
    if there:
        out.mkdir()
    if there == "hidden":
        (out / ".training.json.part").write_text("")
    with pytest.raises(DictionaryError, match=r"nothing to resume at .*: no run there; leave out resume to begin one"):
        train(out, resume=True)
    assert out.exists() == bool(there) and not list(tmp_path.rglob("training.json"))


def test_damaged_and_foreign_checkpoints_are_refused(stopped: Path) -> None:
    state = next(stopped.glob("checkpoint/step-*")) / checkpoint.STATE
    text = state.read_text()
    state.write_text(json.dumps({**json.loads(text), "format": 99}))
    with pytest.raises(DictionaryError, match="format 99"):
        train(stopped, resume=True)
    state.write_text(text)
    tensors = state.with_name("buffer.safetensors")
    tensors.write_bytes(tensors.read_bytes()[:-100])
    with pytest.raises(DictionaryError, match="damaged"):
        train(stopped, resume=True)


def test_records_without_what_they_must_say_are_refused(stopped: Path) -> None:
    state, record = next(stopped.glob("checkpoint/step-*")) / checkpoint.STATE, stopped / folder.RECORD
    state.write_text(json.dumps({"format": checkpoint.FORMAT, "files": []}))
    with pytest.raises(DictionaryError, match="has no environment, identity, log, seconds, source"):
        train(stopped, resume=True)
    record.write_text(json.dumps({"format": folder.FORMAT, "status": folder.RUNNING}))
    with pytest.raises(DictionaryError, match=r"training\.json cannot be read \(KeyError: 'identity'\)"):
        train(stopped, resume=True)


def test_a_disk_that_is_full_leaves_the_checkpoint_before(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = checkpoint.read(stopped)
    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(DictionaryError, match=r"cannot write a checkpoint to .*No space left"):
            train(stopped, resume=True)
    after = checkpoint.read(stopped)
    assert before is not None and after is not None and before[0] == after[0]


@pytest.mark.parametrize("first", [True, False], ids=["cache first", "model first"])
def test_a_run_from_a_cache_is_not_one_from_the_model(first: bool, tmp_path: Path) -> None:
    """They differ from the second pass on, and say differently where they are."""
    caches: tuple[dict[str, Any], dict[str, Any]] = ({"cache": tmp_path / "cache"}, {})
    begin, later = caches if first else caches[::-1]
    with pytest.MonkeyPatch.context() as patched:
        points(patched, 40)
        with pytest.raises(Killed):
            train(tmp_path / "run", **begin)
    with pytest.raises(DictionaryError, match="activations was 'of "):
        train(tmp_path / "run", resume=True, **later)
    assert first or not (tmp_path / "cache").exists()  # refused before a cache is written


def test_a_cache_of_other_chunks_is_not_gone_on_with(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        points(patched, 40)
        with pytest.raises(Killed):
            train(tmp_path / "run", cache=tmp_path / "a")
    assert checkpoint.read(tmp_path / "run") is not None
    train(tmp_path / "other", cache=tmp_path / "b", buffer=300)
    with pytest.raises(DictionaryError, match="largest was 100, now 50"):
        train(tmp_path / "run", resume=True, cache=tmp_path / "b")


def test_other_threads_are_warned_of(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run.torch, "get_num_threads", lambda: 7)
    with pytest.warns(ResumeWarning, match="threads 1 -> 7") as seen:
        train(stopped, resume=True)
    assert [w.filename for w in seen if w.category is ResumeWarning] == [
        train.__code__.co_filename
    ]  # where it is called
