"""Collecting activations: what is on disk is what single runs read, and a folder is whole or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import interp
from interp.activations.collect import collect, load_collected
from interp.errors import InterpError, SiteError, TaskError
from tests.interp.model.tiny import hooked, ids
from tests.interp.tasks.toy import toy_task

DATA = [[5, 9, 21, 40], [7, 8, 33, 12, 50, 11, 3], [4, 60], [30, 31, 32, 33, 34]]
SITES = ["resid_post", "z.1", "embed"]


@pytest.fixture(scope="module")
def model() -> Any:
    return hooked("gpt2")


def single(model: Any, site: str) -> torch.Tensor:
    """The values of all tokens, from a run of each prompt alone."""
    return torch.cat([model.run(row, reads=[site])[site][0].detach() for row in DATA])


def test_padding_shards_and_batches_do_not_change_what_is_stored(model: Any, tmp_path: Path) -> None:
    one = collect(model, DATA, SITES, tmp_path / "one", batch_size=1)
    many = collect(model, DATA, SITES, tmp_path / "many", batch_size=3, shard_size=4)
    assert [s.n_tokens for s in one.files] == [18] and [s.n_tokens for s in many.files] == [4, 4, 4, 4, 2]
    for site, shape in {"resid_post.0": (32,), "resid_post.1": (32,), "z.1": (4, 8), "embed": (32,)}.items():
        assert one.sites[site] == shape
        assert torch.allclose(one.read(site), single(model, site), atol=1e-6)
        assert torch.allclose(many.read(site), one.read(site), atol=1e-5)
    assert set(one.sites) == {"resid_post.0", "resid_post.1", "z.1", "embed"}


def test_every_row_says_which_token_it_is(model: Any, tmp_path: Path) -> None:
    found = collect(model, DATA, "resid_post.0", tmp_path / "out", batch_size=2, shard_size=5)
    assert found.read("example").tolist() == [i for i, row in enumerate(DATA) for _ in row]
    assert found.read("position").tolist() == [p for row in DATA for p in range(len(row))]
    assert found.read("token").tolist() == [token for row in DATA for token in row]
    assert (len(found), found.n_examples, found.dtype, found.model) == (18, 4, "float32", "gpt2")
    shards = list(found.shards())
    assert torch.equal(torch.cat([s["resid_post.0"] for s in shards]), found.read("resid_post.0"))


def test_data_comes_as_text_ids_tasks_and_iterables(model: Any, tmp_path: Path, assets: Path) -> None:
    stories = interp.load(assets / "models" / "stories260K")
    texts = ["Once upon a time", "Lily went to the park"]
    found = collect(stories, (text for text in texts), "z.0", tmp_path / "text")
    assert found.read("token").tolist() == [i for text in texts for i in stories.tokenizer.encode(text)]
    task = toy_task(3, lengths=(6, 8))
    clean = [list(pair.ids.clean) for pair in task.pairs if pair.ids]
    from_task = collect(model, task, "embed", tmp_path / "task").read("token").tolist()
    assert from_task == [i for row in clean for i in row]
    mixed = collect(model, iter([task, ids(2, 5), [3, 4]]), "embed", tmp_path / "mixed")
    assert mixed.read("token").tolist() == from_task + ids(2, 5).flatten().tolist() + [3, 4]
    assert mixed.n_examples == 6


def test_an_endless_stream_is_read_no_further_than_a_batch_ahead(model: Any, tmp_path: Path) -> None:
    taken = []

    def stream() -> Iterator[list[int]]:
        for i in range(1000):
            taken.append(i)
            if i == 7:
                raise KeyboardInterrupt
            yield [3 + i, 4, 5]

    with pytest.raises(KeyboardInterrupt):
        collect(model, stream(), "resid_post.0", tmp_path / "out", batch_size=2, shard_size=6)
    assert len(taken) == 8
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"shard-0000{i}.safetensors" for i in range(3)]
    with pytest.raises(InterpError, match="not finished"):
        load_collected(tmp_path / "out")
    with pytest.raises(InterpError, match="not empty"):
        collect(model, DATA, "resid_post.0", tmp_path / "out")


def test_force_replaces_the_collection_and_nothing_else(model: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    collect(model, DATA, "embed", out, shard_size=3)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(InterpError, match="force=True"):
        collect(model, DATA, "embed", out)
    found = collect(model, DATA[:1], "resid_post.1", out, force=True)
    assert sorted(p.name for p in out.iterdir()) == ["index.json", "notes.txt", "shard-00000.safetensors"]
    assert load_collected(out) == found and list(found.sites) == ["resid_post.1"]
    (tmp_path / "file").write_text("")
    with pytest.raises(InterpError, match="is a file"):
        collect(model, DATA, "embed", tmp_path / "file", force=True)


def test_damage_is_found(model: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = collect(model, DATA, "embed", out, shard_size=9)
    second = out / "shard-00001.safetensors"
    whole, tensors = second.read_bytes(), load_file(second)
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(InterpError, match=r"shard-00001.*damaged"):
        list(load_collected(out).shards())
    with pytest.raises(InterpError, match="damaged"):
        found.read("embed")
    save_file({**tensors, "extra": torch.zeros(9)}, second)
    with pytest.raises(InterpError, match="extra"):
        list(found.shards(verify=False))
    second.unlink()
    with pytest.raises(InterpError, match="is missing"):
        list(found.shards())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", 2, "format 2"),
        ("n_tokens", 19, "19 said"),
        ("shards", [{"file": "../x.safetensors", "n_tokens": 18, "sha256": ""}], "same folder"),
        ("sites", None, "no index of a collection"),
    ],
)
def test_a_wrong_index_is_refused(model: Any, tmp_path: Path, key: str, value: Any, said: str) -> None:
    collect(model, DATA, "embed", tmp_path / "out")
    index = tmp_path / "out" / "index.json"
    data = json.loads(index.read_text())
    index.write_text(json.dumps({**data, key: value}))
    with pytest.raises(InterpError, match=said):
        load_collected(tmp_path / "out")


def test_unusable_inputs_are_named(model: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for data, said in (
        ([], "data is empty"),
        ([[3, 4], []], r"data\[1\] is empty"),
        ([[3, 4], {"text": "x"}], r"data\[1\] is \{'text'"),
        ([[3, 0.5]], r"data\[0\]\[0\] is 3"),
        (["text"], "no tokeniser"),
        ([[3] * 65], "65 tokens; this model's context is 64"),
    ):
        with pytest.raises(TaskError, match=said):
            collect(model, data, "embed", tmp_path / "none")
    with pytest.raises(SiteError, match="two position axes"):
        collect(model, DATA, ["pattern.0"], out)
    with pytest.raises(SiteError, match="no sites"):
        collect(model, DATA, [], out)
    with pytest.raises(InterpError, match="shard_size=0"):
        collect(model, DATA, "embed", out, shard_size=0)
    with pytest.raises(InterpError, match="unknown key"):
        collect(model, DATA, "embed", out).read("resid_post.0")
