"""Task files: every format and column set that is read, and what a wrong file is told."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from interp.errors import TaskError
from interp.tasks.pairs.pairs import Pair
from interp.tasks.task import Task
from interp.tasks.task_files import load_task

ROW = {"clean": "the dog", "corrupt": "the dogs", "answer": " is", "wrong": " are"}
IDS = {"clean_ids": [1, 2, 3], "corrupt_ids": [1, 2, 4], "answer_id": 5, "wrong_id": [6, 7]}


class Words:
    """A tokeniser of words with their leading space, six letters at most; BOS is 1."""

    pad_token_id = 0

    def __init__(self) -> None:
        self.known: list[str] = ["<pad>", "<bos>"]

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        pieces = [word[i : i + 6] for word in re.findall(r" ?[^ ]+", text) for i in range(0, len(word), 6)]
        self.known.extend(dict.fromkeys(p for p in pieces if p not in self.known))
        return [1] * add_special_tokens + [self.known.index(p) for p in pieces]

    def decode(self, ids: list[int]) -> str:
        return "".join(self.known[i] if i < len(self.known) else f"<{i}>" for i in ids)


def write(folder: Path, name: str, content: Any) -> Path:
    path = folder / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_bytes(text.encode("utf-8"))
    return path


def only(folder: Path, name: str, content: Any) -> Any:
    """The one pair of a file."""
    task = load_task(write(folder, name, content))
    assert len(task) == 1
    return task.pairs[0]


def tokens(folder: Path, row: dict[str, Any]) -> Any:
    return load_task(write(folder, "t.json", [row])).tokenize(Words(), 64)[0]


# ---------------------------------------------------------------- formats


def test_the_three_formats_say_the_same(tmp_path: Path) -> None:
    csv = "clean,corrupt,answer,wrong\nthe dog,the dogs, is, are\n"
    found = [
        only(tmp_path, "a.json", [ROW]),
        only(tmp_path, "b.json", {"task": "x", "pairs": [ROW]}),
        only(tmp_path, "c.jsonl", json.dumps(ROW) + "\n\n"),
        only(tmp_path, "d.csv", csv),
        only(tmp_path, "e.csv", "\ufeff" + csv.replace("\n", "\r\n")),
        only(tmp_path, "f.json", "\ufeff" + json.dumps([ROW])),
    ]
    assert all(pair == found[0] for pair in found)
    assert (found[0].clean, found[0].corrupt, found[0].answers, found[0].wrong) == (
        "the dog",
        "the dogs",
        (" is",),
        (" are",),
    )


def test_name_description_and_source(tmp_path: Path) -> None:
    path = write(tmp_path, "t.json", {"task": "number", "description": "who", "pairs": [ROW, ROW]})
    task = load_task(path)
    assert (task.name, task.description, task.source, len(task)) == ("number", "who", str(path), 2)
    assert load_task(write(tmp_path, "plain.jsonl", json.dumps(ROW))).name == "plain"


def test_line_breaks_inside_a_prompt_are_kept(tmp_path: Path) -> None:
    csv = 'clean,corrupt,answer,wrong\n"one\ntwo, three","one\nsix, three", a, b\n'
    assert only(tmp_path, "a.csv", csv).clean == "one\ntwo, three"
    row = {**ROW, "clean": "one\u2028two\u0085three"}
    assert only(tmp_path, "b.jsonl", json.dumps(row, ensure_ascii=False)).clean == row["clean"]


def test_columns_of_feature_circuits(tmp_path: Path) -> None:
    row = {"clean_prefix": "a", "patch_prefix": "b", "clean_answer": " do", "patch_answer": " does", "case": "plural"}
    pair = only(tmp_path, "sva.jsonl", json.dumps(row))
    assert (pair.clean, pair.corrupt, pair.answers, pair.wrong) == ("a", "b", (" do",), (" does",))


def test_columns_of_eap_ig(tmp_path: Path) -> None:
    pair = only(tmp_path, "gt.csv", "clean,corrupted,label\nfrom 1352 to 13,from 1301 to 13,52\n")
    assert (pair.clean, pair.corrupt) == ("from 1352 to 13", "from 1301 to 13")
    assert pair.answers == tuple(str(i) for i in range(53, 100)) and pair.wrong == tuple(f"{i:02d}" for i in range(53))
    ids = only(tmp_path, "ioi.csv", "clean,corrupted,correct_idx,incorrect_idx\na,b,470,184\n")
    assert (ids.answer_ids, ids.wrong_ids, ids.ids) == ((470,), (184,), None)
    with pytest.raises(TaskError, match="token id 470"):
        Task("ioi", (ids,)).tokenize(Words(), 64)
    several = only(tmp_path, "s.csv", 'clean,corrupt,answer,wrong\na,b,"["" x"", "" y""]", z\n')
    assert (several.answers, several.wrong) == ((" x", " y"), (" z",))
    low = only(tmp_path, "low.csv", "clean,corrupted,label\nfrom 1704 to 17,from 1701 to 17,4\n")
    assert (low.answers[0], low.wrong[-1]) == ("05", "04")
    for label in ("x", "123"):
        with pytest.raises(TaskError, match=rf"gt\.csv line 2.*'{label}'"):
            only(tmp_path, "gt.csv", f"clean,corrupted,label\na,b,{label}\n")


def test_public_files_are_read(assets: Path) -> None:
    data = assets / "data"
    if not data.is_dir():
        pytest.skip(f"no data at {data}")
    for path in sorted((data / "sva").glob("*.jsonl")):
        assert all(p.clean != p.corrupt and p.answers != p.wrong for p in load_task(path).pairs)
    assert len(load_task(data / "greater_than" / "eapig_greater_than.csv")) > 100


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("said", [False, True])
def test_tables_with_other_separators(tmp_path: Path, mark: str, said: bool) -> None:
    """Excel writes semicolons where the comma is decimal, and names the separator in a first line where it is asked to."""
    rows = ["clean,corrupt,answer,wrong", "the dog,the dogs, is, are"]
    table = "".join(row.replace(",", mark) + "\r\n" for row in rows)
    table = (f"sep={mark}\r\n" if said else "") + table.replace("the dogs", '"the dogs, all"')
    pair = only(tmp_path, "t.csv", table)
    assert (pair.clean, pair.corrupt, pair.answers, pair.wrong) == ("the dog", "the dogs, all", (" is",), (" are",))
    assert pair.where == f"t.csv line {3 if said else 2}"


def test_commas_between_cells_stay_commas(tmp_path: Path) -> None:
    assert only(tmp_path, "t.csv", "clean,corrupt,answer,wrong\na;b;c,d;e|f, x, y\n").clean == "a;b;c"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_files_of_unicode_are_read(tmp_path: Path, encoding: str, suffix: str) -> None:
    text = "clean;corrupt;answer;wrong\nZoë;Zoé; a; b\n"
    row = {"clean": "Zoë", "corrupt": "Zoé", "answer": " a", "wrong": " b"}
    path = tmp_path / f"t.{suffix}"
    path.write_bytes((text if suffix == "csv" else json.dumps(row if suffix == "jsonl" else [row])).encode(encoding))
    assert [(p.clean, p.corrupt) for p in load_task(path).pairs] == [("Zoë", "Zoé")]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le", "utf-16-be", "mac-roman"])
def test_other_encodings_are_named_not_guessed(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("clean,corrupt,answer,wrong\nZoë,Zoé, a, b\n".encode(encoding))
    with pytest.raises(TaskError, match=r"t\.csv': cannot be read: .*Save it as UTF-8"):
        load_task(path)


# ---------------------------------------------------------------- tokens


def test_text_becomes_tokens(tmp_path: Path) -> None:
    row = {"clean": "the dog of Ann", "corrupt": "the cat of Ann", "answer": [" he", " she"], "wrong": " it"}
    pair = tokens(tmp_path, row)
    assert pair.clean[0] == pair.corrupt[0] == 1 and pair.length == 5
    assert [a == b for a, b in zip(pair.clean, pair.corrupt, strict=True)] == [True, True, False, True, True]
    assert len(pair.answers) == 2 and len(pair.wrong) == 1


def test_ids_are_run_as_given(tmp_path: Path) -> None:
    pair = tokens(tmp_path, {**ROW, **IDS, "spans": {"subject": [1, 3], "end": 2}})
    assert (pair.clean, pair.corrupt, pair.answers, pair.wrong) == ((1, 2, 3), (1, 2, 4), (5,), (6, 7))
    assert pair.spans == {"subject": (1, 3), "end": (2, 3)}
    without_text = {k: v for k, v in ROW.items() if k in ("clean", "corrupt")}
    assert tokens(tmp_path, {**without_text, **IDS}).answers == (5,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"clean": "the dog sleeps"}, r"pair 1 of 1: clean has 5 tokens and corrupt 3.*' dog'.*' sleep'.*' dogs'"),
        ({"answer": " sleeping"}, r"pair 1 of 1: answer ' sleeping' is 2 tokens \[' sleep', 'ing'\]; expected one"),
        ({"wrong": [" are", " hibernates"]}, r"pair 1 of 1: wrong ' hibernates' is 2 tokens"),
        ({"answer": [" is", " are"]}, r"pair 1 of 1: token \[' are'\] is both an answer and wrong"),
        ({"answer": []}, "pair 1 of 1: 'answer' is empty"),
        ({"spans": {"subject": [1, 9]}}, r"pair 1 of 1: span 'subject' is \[1, 9\), outside the prompt of 3 tokens"),
        ({"spans": {"subject": [2, 2]}}, "span 'subject'"),
        ({**IDS, "clean_ids": [1, 4, 2]}, "token ids of 'clean' are not this tokeniser's"),
        ({"answer": [" is", " is"]}, "'answer' names a token twice"),
        ({**IDS, "answer_id": 64}, r"pair 1 of 1: 'answer' has token id 64, but the model's vocabulary is 0 to 63"),
        ({**IDS, "clean_ids": [1, -2, 3]}, "'clean' has token id -2"),
        ({**IDS, "corrupt_ids": []}, "corrupt 0"),
    ],
)
def test_pairs_that_cannot_be_run(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        tokens(tmp_path, {**ROW, **change})


def test_the_second_row_is_named_second(tmp_path: Path) -> None:
    path = write(tmp_path, "t.json", [ROW, {**ROW, "clean": "the dog sleeps"}])
    with pytest.raises(TaskError, match=r"^t\.json pair 2 of 2: clean has"):
        load_task(path).tokenize(Words(), 64)


def test_a_pair_keeps_its_line_in_either_half(tmp_path: Path) -> None:
    """Line 1 is the header, the third pair begins on line 4 and ends on line 5, line 6 is blank."""
    good = ["the dog,the dogs, is, are\n" for _ in range(6)]
    table = ["clean,corrupt,answer,wrong\n", *good[:2], '"the dog\nsleeps","the dogs", is, are\n', "\n", *good[2:]]
    path = write(tmp_path, "t.csv", "".join(table))
    task = load_task(path)
    assert [pair.where for pair in task.pairs] == [f"t.csv line {i}" for i in (2, 3, 4, 7, 8, 9, 10)]
    for seed in range(4):
        (bad,) = [half for half in task.split(seed) if any("\n" in pair.clean for pair in half.pairs)]
        with pytest.raises(TaskError, match=r"^t\.csv line 4: clean has"):
            bad.tokenize(Words(), 64)


def test_pairs_without_a_file_are_counted_before_the_split() -> None:
    pairs = [Pair("the dog", "the dogs", (" is",), (" are",)) for _ in range(8)]
    pairs[6] = Pair("the dog sleeps", "the dogs", (" is",), (" are",))
    for half in Task("mine", tuple(pairs)).split(1):
        if any(len(pair.clean) > 8 for pair in half.pairs):
            with pytest.raises(TaskError, match=r"^mine pair 7 of 8: clean has"):
                half.tokenize(Words(), 64)
            return
    pytest.fail("the pair is in neither half")


# ---------------------------------------------------------------- files that cannot be used


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("e.json", "[]", r"e\.json.*is empty"),
        ("e.jsonl", "\n\n", r"e\.jsonl.*is empty"),
        ("e.csv", "", r"e\.csv.*is empty"),
        ("e.csv", "clean,corrupt,answer,wrong\n", r"e\.csv.*is empty"),
        ("t.json", "[{]", r"t\.json.*cannot be read as json"),
        ("t.jsonl", json.dumps(ROW) + '\n{"clean": 1\n', r"t\.jsonl.*: line 2 cannot be read as jsonl.* at column 12"),
        ("t.jsonl", "\n" + json.dumps(ROW) + '\n{"clean": "a"}\n', r"t\.jsonl line 3: 'corrupt'"),
        ("t.csv", 'clean,corrupt,answer,wrong\n"a,b,c,d\n', r"t\.csv.*cannot be read as csv"),
        ("t.csv", "clean,corrupt,answer,wrong\na, b,c,d,e\n", r"t\.csv.*line 2 has more cells.*quotes"),
        ("t.csv", "clean,corrupt,answer,wrong\na,b,c\n", r"t\.csv line 2: 'wrong' missing; given columns: clean"),
        ("t.json", {"rows": [ROW]}, r"t\.json.*list of pairs or an object with a list 'pairs'"),
        ("t.json", [ROW, "the dog"], r"t\.json pair 2 of 2: expected an object"),
        ("t.json", [ROW, {"clean": "a", "answer": "b"}], r"t\.json pair 2 of 2: 'corrupt' missing"),
        ("t.json", [{**ROW, "clean": ["a"]}], r"pair 1 of 1: 'clean' is \['a'\]; expected text"),
        ("t.json", [{**ROW, "answer": [3]}], r"pair 1 of 1: 'answer' is 3; expected text"),
        ("t.json", [{**ROW, **IDS, "answer_id": "five"}], r"pair 1 of 1: token ids 'five'; expected integers"),
        ("t.json", [{**ROW, **IDS, "wrong_id": 5.5}], r"pair 1 of 1: token ids 5\.5; expected integers"),
        ("t.json", [{**ROW, **IDS, "clean_ids": None}], r"pair 1 of 1: token ids None; expected integers"),
        (
            "t.json",
            [{**ROW, "clean_ids": [1], "corrupt_ids": [1]}],
            r"pair 1 of 1: 'clean_ids' given; expected 'answer_id'",
        ),
        (
            "t.json",
            [{**ROW, **IDS, "corrupt_ids": [1, 2, 3]}],
            "pair 1 of 1: 'clean_ids' and 'corrupt_ids' are the same",
        ),
        ("t.csv", "clean;corrupt;answer;wrong\na; b;c;d;e\n", r"line 2 has more cells.*contain semicolons in quotes"),
        (
            "t.json",
            [{**ROW, "spans": {"s": [1, 2, 3]}}],
            r"pair 1 of 1: span 's' is \[1, 2, 3\]; expected \[start, end\]",
        ),
        ("t.json", [{**ROW, "spans": {"s": "1"}}], "pair 1 of 1: span 's'"),
        ("t.csv", "clean,corrupt,answer,wrong,answer\na, b,c,d,e\n", r"t\.csv.*header names 'answer' more than once"),
        ("t.jsonl", json.dumps(ROW)[:-1] + ', "answer": " x"}', r"t\.jsonl.*: line 1: the key 'answer' is given twice"),
        ("t.json", f'[{json.dumps(ROW)[:-1]}, "answer": " x"}}]', r"t\.json.*: the key 'answer' is given twice"),
        ("t.jsonl", json.dumps(ROW)[:-1] + ', "n": 1e999}', r"t\.jsonl.*: line 1: .* not finite"),
        ("t.json", f"[{'9' * 5000}]", r"t\.json.*: cannot be read: .*digits"),
        ("t.txt", "a", r"t\.txt.*expected \.json, \.jsonl or \.csv"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        load_task(write(tmp_path, name, content))


def test_columns_that_are_not_read_may_have_one_name(tmp_path: Path) -> None:
    assert len(load_task(write(tmp_path, "t.csv", "clean,corrupt,answer,wrong,,,n,n\na,b,c,d,,,1,2\n"))) == 1


def test_utf_32_is_named(tmp_path: Path) -> None:
    (tmp_path / "wide.csv").write_bytes("clean,corrupt,answer,wrong\na,b,c,d\n".encode("utf-32"))
    with pytest.raises(TaskError, match="UTF-32"):
        load_task(tmp_path / "wide.csv")


def test_a_file_that_is_not_there_and_one_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="does not exist"):
        load_task(tmp_path / "none.json")
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TaskError, match="cannot be read"):
        load_task(tmp_path / "bytes.json")
