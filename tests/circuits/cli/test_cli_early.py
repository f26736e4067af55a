"""Options that need no model are refused before one is loaded, by every command that loads one; and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from circuits.circuit.circuit import Circuit
from interp.parts.nodes import Node
from tests.circuits.cli.called import Run, run

__all__ = ["run"]

JUDGED = ("evaluate", "c.json", "--model", "demo", "--task", "ioi")
TRAINED = ("sae", "train", "--site", "resid_post.1", "--d-sae", "8")
EVALUATED = ("sae", "eval", "nowhere")

EARLY = {
    "discover device": (["discover", "--device", "gpu"], "device 'gpu'"),
    "discover threshold": (["discover", "--threshold", "nan"], "threshold=nan"),
    "discover forwards": (["discover", "--max-forwards", "nan"], "max-forwards=nan"),
    "evaluate forwards": ([*JUDGED, "--max-forwards", "-1"], "max-forwards=-1"),
    "compare forwards": (["compare", "--max-forwards", "0"], "max-forwards=0"),
    "discover limit": (["discover", "--limit", "0"], "limit=0"),
    "discover length": (["discover", "--length", "0"], "length=0"),
    "discover pair": (["discover", "--pair", "a", "b", "--length", "3"], "--length belongs to a task"),
    "evaluate length": ([*JUDGED, "--length", "0"], "length=0"),
    "discover seed": (["discover", "--seed", "9" * 25], "below 2**63"),
    "bench dtype": (["bench", "--dtype", "float64"], "--dtype and --device"),
    "bench folder": (["bench", "--model", "demo", "--out", "t"], "is a folder"),
    "bench out": (["bench", "--out", "nowhere/x.json"], "does not exist"),
    "discover dtype": (["discover", "--dtype", "float31"], "dtype 'float31'"),
    "compare positions": (["compare", "--positions", "al"], "Did you mean all"),
    "compare methods": (["compare", "--methods", "atp,rlep"], "Did you mean relp"),
    "compare twice": (["compare", "--methods", "atp,atp"], "each once"),
    "evaluate metric": ([*JUDGED, "--metric", "logitdiff"], "Did you mean logit_diff"),
    "evaluate ablation": ([*JUDGED, "--ablation", "men"], "Did you mean mean"),
    "evaluate ranking": ([*JUDGED, "--ranking", "best"], "absolute"),
    "evaluate random": ([*JUDGED, "--random", "0"], "random=0"),
    "evaluate tests": ([*JUDGED, "--tests", "0"], "tests=0"),
    "evaluate batch": ([*JUDGED, "--batch-size", "-1"], "batch_size=-1"),
    "evaluate limit": ([*JUDGED, "--limit", "0"], "one pair"),
    "evaluate task": ([*JUDGED[:4], "--task", "ioy"], "Did you mean ioi"),
    "evaluate no task": (list(JUDGED[:4]), "give --task"),
    "evaluate no model": (list(JUDGED[:2]), "give --model"),
    "truth method": (["truth", "t", "--methods", "exct"], "Did you mean exact"),
    "truth ablation": (["truth", "t", "--ablation", "mean"], "Valid: counterfactual, zero"),
    "truth blind": (["truth", "t", "--methods", "relp", "--ablation", "zero"], "exact methods only"),
    "truth limit": (["truth", "t", "--limit", "0"], "limit=0"),
    "bench method": (["bench", "--model", "demo", "--methods", "rlep"], "Did you mean relp"),
    "bench level": (["bench", "--model", "demo", "--level", "head"], "Did you mean heads"),
    "bench part": (["bench", "--model", "demo", "--parts", "exakt"], "Did you mean exact"),
    "bench steps": (["bench", "--model", "demo", "--methods", "relp-ig", "--steps", "0"], "steps"),
    "sites rules": (["sites", "--rules", "rlep"], "Did you mean relp"),
    "verify device": (["verify", "--device", "gpu"], "device 'gpu'"),
    "export format": (["export", "c.json", "x.json", "--to", "mibb"], "Did you mean mib"),
    "export target": (["export", "c.json", "there.json", "--to", "eap-ig"], "exists"),
    "train architecture": ([*TRAINED, "--architecture", "topc"], "Did you mean topk"),
    "train d_sae": ([*TRAINED[:4], "--d-sae", "0"], "d_sae=0"),
    "train without d_sae": (list(TRAINED[:4]), "d_sae"),
    "train option": ([*TRAINED, "--set", "l1_coeficient=3"], "l1_coefficient"),
    "train tokens": ([*TRAINED, "--tokens", "0"], "tokens=0"),
    "train buffer": ([*TRAINED, "--buffer", "much"], "buffer='much'"),
    "train share": ([*TRAINED, "--hold-out", "2"], "hold_out=2"),
    "train dtype": ([*TRAINED, "--dtype", "float16"], "float32 or float64"),
    "train data": ([*TRAINED, "--data", "no.txt"], "no.txt"),
    "train kind of data": ([*TRAINED, "--data", "c.csv"], "c.csv"),
    "train context": ([*TRAINED, "--context", "1"], "context=1"),
    "train file": (["sae", "train", "no.toml"], "no.toml"),
    "train checkpoint": ([*TRAINED, "--checkpoint-every", "0"], "checkpoint_every=0"),
    "eval tokens": ([*EVALUATED, "--tokens", "0"], "tokens=0"),
    "eval share": ([*EVALUATED, "--hold-out", "2"], "hold_out=2"),
    "eval context": ([*EVALUATED, "--context", "1"], "context=1"),
    "eval no data": ([*EVALUATED, "--data", "no.txt"], "no.txt"),
    "eval pca": ([*EVALUATED, "--pca", "-1"], "pca=-1"),
    "eval labels": ([*EVALUATED, "--probe", "no.jsonl"], "no.jsonl"),
    "eval data": ([*EVALUATED, "--model", "elsewhere"], "--data"),
}


def no_model(*args: object, **options: object) -> None:
    raise AssertionError("a model was read")


@pytest.mark.parametrize("case", EARLY)
def test_options_that_need_no_model_are_refused_before_one_is_read(
    case: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp.model.loading.load._read", no_model)
    monkeypatch.setattr("circuits.jobs.machine.bench.gpt2_small_random", no_model)
    Circuit((Node("head", 1, 0),), "heads", "demo", "ioi", "relp", "n=1", ()).save(tmp_path / "c.json")
    (tmp_path / "there.json").write_text("mine")
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "circuit.json").write_text("{}")
    args, said = EARLY[case]
    code, out, err = run(*args)
    assert (code, out) == (2, "") and said in err.splitlines()[-1], err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.json", "t", "there.json"]
    assert (tmp_path / "there.json").read_text() == "mine"
