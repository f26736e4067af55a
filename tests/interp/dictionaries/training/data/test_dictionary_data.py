"""What training reads: documents, rows, activations, and the buffer that mixes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import interp
from interp.dictionaries.activation import DictionaryError
from interp.dictionaries.training.data.buffer import Buffer
from interp.dictionaries.training.data.chunks import Activations, Chunk
from interp.dictionaries.training.data.documents import Stream, Written
from interp.dictionaries.training.data.reading import open_documents
from interp.dictionaries.training.data.rows import Cutter
from interp.parts.sites import Site
from tests.interp.dictionaries.training.data.trained import BOS, SITE, documents, rows_of
from tests.interp.model import tiny


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny.hooked("llama")


# ---------------------------------------------------------------- rows


def test_rows_are_the_documents_cut_with_bos_before_each(model: Any) -> None:
    cutter = Cutter.of(model, 16, False)
    for document in documents():
        rows = cutter.rows(document)
        assert all(row[0] == BOS and 2 <= len(row) <= 16 for row in rows)
        assert [token for row in rows for token in row[1:]] == document[1:]
    assert cutter.rows([BOS]) == [] and cutter.rows([5, 6, 7]) == [[5, 6, 7]]
    assert sum(map(cutter.n_tokens, cutter.rows([BOS, *range(3, 40)]))) == 37


def test_padding_of_either_side_is_taken_off(model: Any) -> None:
    cutter = Cutter(None, 16, bos=BOS, pad=0, keep_bos=False)
    for row in ([0, 0, BOS, 5, 6], [BOS, 5, 6, 0], [0, BOS, 5, 6, 0, 0]):
        assert cutter.rows(row) == [[BOS, 5, 6]]
    assert cutter.rows([0, 0]) == [] and cutter.rows([BOS, 5, 0, 6]) == [[BOS, 5, 0, 6]]
    assert replace(cutter, pad=None).rows([0, 5]) == [[0, 5]]


def test_another_way_to_cut_documents_is_noticed(model: Any) -> None:
    """A run and a cache must not go on with the rows of another tokeniser."""
    data = documents(5)
    one = rows_of(model, data).fingerprint()
    assert one == rows_of(model, iter(data)).fingerprint()
    others = (rows_of(model, data, context=15), rows_of(model, documents(6)))
    assert len({one, *(rows.fingerprint() for rows in others)}) == 3
    again = rows_of(model, data)
    again.cutter = replace(again.cutter, bos=None)
    assert again.fingerprint() != one


def test_rows_of_text_are_the_tokenisers(model: Any) -> None:
    demo = interp.load("demo")
    cutter = Cutter.of(demo, None, False)
    assert cutter.context == 64 and cutter.rows("  \n") == []
    text = "The war lasted from the year 1732 to the year 17"
    assert cutter.rows(text) == [demo.tokenizer(text)["input_ids"]] and cutter.rows(text)[0][0] == cutter.bos


def test_held_out_documents_are_never_trained_on_and_are_about_the_share_asked_for(model: Any) -> None:
    data = [[BOS, *x] for x in torch.randint(3, tiny.VOCAB, (100, 12)).tolist()]  # rows that differ from each other
    for given in (data, iter(data)):
        rows = rows_of(model, given, share=0.1)
        out = [tuple(row) for row in rows.held_out_rows()]
        assert len(out) == 10
        trained = {tuple(rows.next()) for _ in range(90)}
        assert len(trained) == 90 and not trained & set(out) and trained | set(out) == {tuple(x) for x in data}


def test_one_pass_gives_every_row_once_and_the_next_in_another_order(model: Any) -> None:
    data = documents(30)
    rows = rows_of(model, data, share=0)
    wanted = sorted(row for document in data for row in rows.cutter.rows(document))
    passes = [[rows.next() for _ in wanted] for _ in range(2)]
    assert rows.place.epoch == 1 and [sorted(found) for found in passes] == [wanted, wanted] and passes[0] != passes[1]


def test_reading_goes_on_at_a_place(model: Any) -> None:
    for data in (lambda: documents(12), lambda: iter(documents(200))):
        whole = rows_of(model, data())
        before = [whole.next() for _ in range(23)]
        later = rows_of(model, data())
        later.place = type(whole.place)(**vars(whole.place))
        assert [later.next() for _ in range(20)] == [whole.next() for _ in range(20)] and before


def test_a_stream_that_ends_too_early_is_an_error(model: Any) -> None:
    rows = rows_of(model, iter(documents(5)), share=0)
    with pytest.raises(DictionaryError, match=r"ended after \d+ tokens"):
        for _ in range(1000):
            rows.next()


# ---------------------------------------------------------------- data


def test_every_form_of_the_same_texts_gives_the_same_documents(tmp_path: Path) -> None:
    texts = ["One day.\nA dog ran.", "Two cats sat.", "Three birds flew."]
    (tmp_path / "a.txt").write_text("\n\n".join(texts))
    (tmp_path / "a.json").write_text(json.dumps(texts))
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": t, "n": 1}) + "\n\n" for t in texts))
    import datasets

    datasets.Dataset.from_dict({"text": texts}).save_to_disk(str(tmp_path / "set"))
    given = [tmp_path / "a.txt", str(tmp_path / "a.json"), tmp_path / "a.jsonl", tmp_path / "set", texts, iter(texts)]
    for data in given:
        found = open_documents(data, 0)
        assert [found.read(i) for i in (0, 1, 2)] == texts, data
        with pytest.raises(IndexError):
            found.read(3)


def test_every_form_of_the_same_ids_gives_the_same_documents() -> None:
    ids = [[1, 5, 6], [1, 7, 8], [1, 9, 10]]
    batch = torch.tensor(ids)
    masked = {
        "input_ids": torch.tensor([[0, 1, 5, 6], [0, 1, 7, 8], [0, 1, 9, 10]]),
        "attention_mask": torch.tensor([[0, 1, 1, 1]] * 3),
    }
    given: list[Any] = [
        ids,
        tuple(ids),
        batch,
        iter([batch[:2], batch[2:]]),
        [batch],
        [masked],
        iter([masked]),
        list(batch),
    ]
    for data in given:
        found = open_documents(data, 0)
        assert [found.read(i) for i in range(3)] == ids, data


def test_a_text_without_blank_lines_is_cut_at_line_ends(tmp_path: Path) -> None:
    lines = [f"line {i} " + "x" * 90 for i in range(100)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    found = open_documents(tmp_path / "a.txt", 0)
    pieces = [found.read(i) for i in range(found.count or 0)]
    assert len(pieces) > 3 and "".join(map(str, pieces)) == "\n".join(lines)


def test_written_documents_are_the_same_in_any_order() -> None:
    one, other = Written(3), Written(3)
    places = [0, 1, 499, 500, 1203]
    assert [one.read(i) for i in places] == [other.read(i) for i in reversed(places)][::-1]
    assert len({one.read(i) for i in range(1000)}) > 900 and one.read(0) != Written(4).read(0)


def test_a_stream_keeps_no_more_than_it_must() -> None:
    def endless() -> Iterator[list[int]]:
        i = 0
        while True:
            yield [i]
            i += 1

    stream = Stream(endless())
    assert [stream.read(i, keep=True) for i in range(10)] == [[i] for i in range(10)]
    assert stream.read(4) == [4] and stream.read(5000) == [5000] and len(stream._kept) == 1


# ---------------------------------------------------------------- activations


@pytest.mark.broad
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gpt_neox", "bloom", "mixtral"])
def test_activations_are_those_of_each_row_alone(name: str) -> None:
    model = tiny.hooked(name)
    sites = [Site("resid_post", 0), Site("z", 1), Site("mlp_normed", 1), Site("mlp_out", 1)]
    rows = rows_of(model, documents(40), share=0)
    source = Activations(model, rows, sites, torch.float64, 300)
    taken = source.take()
    found, where = source.of(taken), source.where(taken)
    assert 0 < len(where["token"]) <= source.largest
    bos = rows.cutter.bos
    wanted: dict[tuple[int, ...], Tensor] = {}
    for row in taken:
        run = model.run(torch.tensor([row]), reads=sites)
        for at, token in enumerate(row):
            if token != bos:
                wanted[(*row[: at + 1],)] = torch.cat([run[site].flatten(2)[0, at] for site in sites]).double()
    got = torch.cat([found[site] for site in sites], -1)
    assert len(got) == sum(token != bos for row in taken for token in row)
    assert got.dtype == torch.float64
    # Rows share no prefixes but BOS, so every vector must be that of a row, and the token beside it must be its last.
    ends = torch.stack(list(wanted.values()))
    near = torch.cdist(got, ends).min(-1)
    assert float(near.values.max()) < 1e-4 * float(ends.norm(dim=-1).max())
    keys = list(wanted)
    assert [keys[i][-1] for i in near.indices.tolist()] == where["token"].tolist()
    assert [len(keys[i]) - 1 for i in near.indices.tolist()] == where["position"].tolist()


def test_layers_behind_the_last_site_are_not_run_and_nothing_is_left_behind(model: Any) -> None:
    calls: list[int] = []
    last = model.hf.get_submodule(model.layout.blocks[1].path)
    handle = last.register_forward_hook(lambda *_: calls.append(1))
    try:
        source = Activations(model, rows_of(model, documents()), [SITE], torch.float32, 300)
        source.next()
        assert not calls
        Activations(model, rows_of(model, documents()), [SITE, Site("resid_final")], torch.float32, 300).next()
        assert calls
    finally:
        handle.remove()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.hf.modules())
    assert model.run(torch.tensor([[1, 4, 5]])).logits.shape == (1, 3, tiny.VOCAB)


# ---------------------------------------------------------------- buffer


class Numbers:
    """Chunks of numbers that count up."""

    largest = 50

    def __init__(self) -> None:
        self.given = 0

    def next(self) -> Chunk:
        n = 30 + self.given % 20
        self.given += n
        return {SITE: torch.arange(self.given - n, self.given).float()[:, None].expand(-1, 3)}

    def state(self) -> dict[str, Any]:
        return {"given": self.given}

    def load(self, state: dict[str, Any]) -> None:
        self.given = state["given"]


def test_a_buffer_serves_every_token_once_mixed_and_within_its_memory() -> None:
    source = Numbers()
    buffer = Buffer(source, [SITE], 400, 64, seed=0)
    served = [buffer.next()[SITE] for _ in range(60)]
    values = torch.cat(served)[:, 0].long().tolist()
    left = buffer.slots[SITE][buffer.order][:, 0].long().tolist()
    assert sorted(values + left) == list(range(source.given))
    assert all(bool((x == x[:, :1]).all()) for x in served) and buffer.slots[SITE].shape == (400, 3)
    assert sorted([*buffer.order.tolist(), *buffer.free.tolist()]) == list(range(400))
    kept = buffer.state()[f"slots.{SITE}"]
    assert kept.data_ptr() == buffer.slots[SITE].data_ptr(), "a checkpoint takes no second buffer"
    spans = [float(x.max() - x.min()) for x in served[5:]]
    assert min(spans) > 128, "a batch comes from all over the buffer"


def test_a_buffer_goes_on_from_its_state() -> None:
    source = Numbers()
    buffer = Buffer(source, [SITE], 400, 64, seed=0)
    for _ in range(17):
        buffer.next()
    other = Buffer(Numbers(), [SITE], 400, 64, seed=5)
    state = {key: x.clone() for key, x in buffer.state().items()}
    other.load(state, "cpu")
    other.source.load(source.state())
    assert all(torch.equal(buffer.next()[SITE], other.next()[SITE]) for _ in range(40))
