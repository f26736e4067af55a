"""Every registry holds to the same law, and what another package adds to one works from end to end and is named."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import interp
from circuits.circuit.circuit import Circuit
from circuits.circuit.selection import SELECTIONS, discover
from circuits.evaluation.faithfulness import evaluate
from circuits.interchange.formats import FORMATS
from circuits.terms import names
from interp.attribution.methods import METHODS
from interp.attribution.path_patching import path_patch
from interp.attribution.request import attribute, prepare
from interp.attribution.token_attribution import attribute_tokens
from interp.attribution.token_methods import METHODS as TOKEN_METHODS
from interp.depth.layer_scores import LAYER_SCORES
from interp.effects.splits import SPLITS
from interp.errors import InterpError, MethodError, TaskError, UnsupportedRuleError
from interp.lenses.effect_measures import MEASURES
from interp.probes.erasers import ERASERS
from interp.probes.probe_fits import PROBES
from interp.probes.selections import PROBE_SELECTIONS
from interp.registries import Registry, loaded
from interp.rules.rules import PRESETS, preset
from interp.statistics.accumulator import STATISTICS
from interp.tasks.ablations import ABLATIONS, Kind
from interp.tasks.builtin import TASKS, describe
from interp.tasks.metrics import METRICS
from interp.tasks.replacements import Ablation
from tests.circuits.cli.called import Run, calling
from tests.house import ROOT
from tests.interp.attribution.features.feature_twin import dictionaries
from tests.interp.installed import beside, install
from tests.interp.model.tiny import hooked
from tests.interp.rules.float64 import true_float64
from tests.interp.tasks.toy import toy_task

TABLES: tuple[Registry[Any], ...] = (
    METHODS, METRICS, ABLATIONS, PRESETS, TASKS, TOKEN_METHODS, SELECTIONS, FORMATS, LAYER_SCORES, STATISTICS,
    MEASURES, SPLITS, PROBES, PROBE_SELECTIONS, ERASERS,
)  # fmt: skip
#: What an entry of a kind must say besides its sentence.
DEMANDS = {
    "method": ("units", "cost", "source"),
    "token method": ("units", "cost", "source"),
    "metric": ("units",),
    "selection": ("source",),
    "layer score": ("units", "cost", "source"),
}


def entries() -> list[Any]:
    return [pytest.param(t, name, id=f"{t.kind} {name}") for t in TABLES for name in names.GROUPS[t.group][1]]


@pytest.mark.parametrize(("table", "name"), entries())
def test_an_entry_has_its_name_and_says_what_it_is(table: Registry[Any], name: str) -> None:
    entry = table[name]
    assert entry.name == name and entry.about.sentence.strip()
    assert not [part for part in DEMANDS.get(table.kind, ()) if not getattr(entry.about, part)]
    with pytest.raises(table.error, match=f"{table.kind} '{name}' is registered twice"):
        table.add(entry)
    assert table[name] is entry
    wrong = name[:-1] + "~"
    with pytest.raises(table.error) as raised:
        table[wrong]
    assert f"unknown {table.kind} {wrong!r}. Did you mean " in str(raised.value) and name in str(raised.value)


def test_an_ablation_has_a_cost_unless_it_needs_no_run() -> None:
    assert {a.name for a in ABLATIONS.values() if not a.about.cost} == {a.name for a in ABLATIONS.values() if a.is_zero}


def test_names_without_their_registries_are_those_of_the_registries() -> None:
    """Other tests add names of their own, so all that is written down, in order, and no built-in one that is not."""
    assert {(t.group, t.kind) for t in TABLES} == {(group, kind) for group, (kind, _) in names.GROUPS.items()}
    for table in TABLES:
        written = names.GROUPS[table.group][1]
        assert [name for name in table if name in written] == list(written)


# ---------------------------------------------------------------- a package that adds one of each

EXTRAS = """
import torch

import interp
from circuits.circuit.selection import ranked, selection
from circuits.interchange.contents import Contents
from circuits.interchange.formats import FORMATS, Format
from circuits.circuit.circuit import Circuit
from interp.attribution.methods import METHODS, method
from interp.attribution.token_methods import METHODS as TOKEN_METHODS, Method
from interp.depth.layer_scores import layer_score
from interp.registries import About
from interp.rules.rules import PRESETS, Preset, Rules
from interp.tasks import word_lists as w
from interp.tasks.ablations import ABLATIONS, Kind, ablation
from interp.tasks.builtin import Draft, generator
from interp import METRICS, Metric


@method("x-half", formula="half of relp", cost="2F + 1B", paper="here", rules=Rules(norm="frozen"), base_point=True)
def half(batch, options, rules):
    return {group: x / 2 for group, x in METHODS["relp"].function(batch, options, rules).items()}


METRICS.add(Metric("x-first", lambda logits, t: (logits * t.answers.to(logits)).sum(-1), "logits", "logit of the answers"))


@ablation("x-mean", sentence="its mean, taken another way", cost="1F over the clean prompts")
def mean(prompts):
    return {key: x.mean(0)[None, None] for key, x in prompts.tokens().items()}


ABLATIONS.add(Kind("x-partner", "its value on another prompt", partners=ABLATIONS["resample"].partners, cost="1F"))
ABLATIONS.add(Kind("x-pair", "its value on the paired prompt", paired=True, cost="1F of the source run"))
PRESETS.add(Preset("x-norms", Rules(norm="frozen"), "scale of norms held"))


@generator("x-twice", description="a word follows itself")
def twice(lexicon, *, start="Today"):
    people = lexicon.words("names", (*w.GIRLS, *w.BOYS), 4)

    def draw(rng):
        right, wrong = rng.sample(people, 2)
        clean, corrupt = (w.fill(start + " {name} and", {"name": n}, ("name",)) for n in (right, wrong))
        return Draft(clean, corrupt, (w.spaced(right),), (w.spaced(wrong),), ((right, wrong),))

    return draw


@selection("x-backwards", description="the least important first", source="here")
def backwards(scores, ranking):
    return ranked(scores, ranking)[::-1]


TOKEN_METHODS.add(
    Method("x-token", lambda job, batch: batch.x.sum(-1), ("zero",), formula="sum of x", cost="1F", paper="here")
)


@layer_score("x-last", About("how far the part is from the end", "layers", "0 F", "here"))
def last(asked):
    return {part: float(-part.layer) for part in asked.parts}


def read(path):
    return {"x": Contents(circuit=Circuit.load(path))}


def write(contents, path, shape, force):
    contents.circuit.save(path)
    return [path]


FORMATS.add(Format("x-lines", ".x", "a circuit", read, write))
"""
OFFERED = {
    "interp.methods": ["x-half"],
    "interp.metrics": ["x-first"],
    "interp.ablations": ["x-mean", "x-partner", "x-pair"],
    "interp.presets": ["x-norms"],
    "interp.generators": ["x-twice"],
    "interp.token_methods": ["x-token"],
    "interp.layer_scores": ["x-last"],
    "circuits.selections": ["x-backwards"],
    "circuits.formats": ["x-lines"],
}
POINTS = {group: dict.fromkeys(of, "extras") for group, of in OFFERED.items()}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with beside(tmp_path, *TABLES):
        yield tmp_path


@pytest.fixture
def extras(folder: Path) -> Path:
    install(folder, "extras", POINTS, EXTRAS, "0.3")
    return folder


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    return calling(monkeypatch, capsys)


def test_a_run_with_things_of_a_package_names_it(extras: Path, run: Run) -> None:
    given = "--task x-twice --method x-half --metric x-first --ablation x-mean --algorithm x-backwards"
    small = "--limit 8 --level heads --n 3 --random 2 --out found --quiet"
    code, _, err = run("discover", *given.split(), *small.split())
    assert code == 0, err
    manifest = json.loads(Path("found/manifest.json").read_text())
    used = {"method x-half", "metric x-first", "ablation x-mean", "selection x-backwards", "task x-twice"}
    assert used <= manifest["packages"].keys() and set(manifest["packages"].values()) == {"extras 0.3"}
    assert manifest["task"]["source"] == "extras 0.3, seed 0" and "extras 0.3" in Path("found/report.html").read_text()
    assert run("export", "found", "circuit.x", "--to", "x-lines")[0] == 0
    assert run("import", "circuit.x", "--format", "x-lines", "--out", "back")[0] == 0
    assert Circuit.load("back/circuit.json").parts == Circuit.load("found/circuit.json").parts
    code, out, _ = run("sites", "--rules", "x-norms")
    assert code == 0 and "x-norms: norm=frozen" in out


def test_a_run_without_things_of_packages_says_nothing_of_them(extras: Path, run: Run) -> None:
    small = "--method relp --limit 8 --level heads --n 3 --random 2 --out found --quiet"
    assert run("discover", *small.split())[0] == 0 and loaded() == {} and "extras" not in sys.modules
    assert "packages" not in json.loads(Path("found/manifest.json").read_text())


def test_doctor_lists_what_packages_offer_and_fails_where_a_name_is_taken(extras: Path, run: Run) -> None:
    _, out, _ = run("doctor")
    assert "metric x-first" in out and "extras 0.3" in out and "metric logit_diff" not in out
    install(extras, "greedy", {"interp.metrics": {"logit_diff": "greedy"}, "interp.presets": {"x-norms": "greedy"}})
    code, out, err = run("doctor")
    wrong = " ".join((out + err).split()).partition("not right:")[2]
    assert code == 3 and "metric logit_diff" in wrong and "rule preset x-norms" in wrong and "x-first" not in wrong
    assert "uninstall" in wrong and not {"extras", "greedy"} & sys.modules.keys()
    assert METRICS["logit_diff"].function.__module__ == "interp.tasks.metrics"
    with pytest.raises(UnsupportedRuleError, match=r"'x-norms' is offered by extras 0\.3 and by greedy 1\.0"):
        preset("x-norms")


FRESH = """
import subprocess
import sys
sys.path.insert(0, {folder!r})
from interp.tasks.metrics import METRICS
assert "torch" in sys.modules and "interp.attribution.methods" not in sys.modules
METRICS["x-first"]
from interp.attribution.methods import METHODS
from interp.registries import loaded
assert len(loaded()) == 11 and set(loaded().values()) == {{"extras 0.3"}}, loaded()
assert METHODS.origins == {{"x-half": "extras 0.3"}} and list(METHODS)[0] == "auto"
assert hasattr(METHODS["x-half"].function, "__wrapped__") and not hasattr(METHODS["relp"].function, "__wrapped__")
"""


def test_a_package_that_is_the_first_to_import_ours_does_not_own_it(extras: Path) -> None:
    script = FRESH.format(folder=str(extras))
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_options_of_a_task_of_a_package_are_its_own(extras: Path) -> None:
    assert describe("x-twice").options == ("start",)
    pairs = interp.task("x-twice", interp.load("demo"), n=4, start="Now").pairs
    assert len(pairs) == 4 and all(pair.clean.startswith("Now ") for pair in pairs)
    with pytest.raises(TaskError, match=r"unknown option of task 'x-twice' 'stat'\. Did you mean start"):
        interp.task("x-twice", interp.load("demo"), stat="Now")


def test_a_shell_completes_what_packages_offer(extras: Path) -> None:
    from circuits.cli.options import completing

    assert completing.several(completing.NAMES["methods"])("relp,x-") == ["relp,x-half"]
    assert completing.tasks("x-") == ["x-twice"] and completing.among(completing.NAMES["formats written"])("x") == [
        "x-lines"
    ]
    assert "extras" not in sys.modules


def test_a_fault_in_a_package_ends_a_command_in_one_line_that_names_it(folder: Path, run: Run) -> None:
    broken = "from interp import METRICS, Metric\nMETRICS.add(Metric('bad', lambda x, t: 1 / 0, 'u', 'd'))"
    install(folder, "broken", {"interp.metrics": {"bad": "broken", "gone": "nowhere"}}, broken)
    code, _, err = run("discover", "--metric", "bad", "--method", "relp", "--limit", "8", "--out", "found", "--quiet")
    assert code == 1 and "metric 'bad' of package broken 1.0 failed: ZeroDivisionError: division by zero" in err
    code, _, err = run("discover", "--metric", "gone", "--method", "relp")
    assert code == 2 and err.count("\n") == 1 and "metric 'gone' of package broken 1.0 cannot be loaded" in err


# ---------------------------------------------------------------- a new ablation, at every level


@pytest.mark.parametrize("level", ["heads", "neurons", "edges", "features"])
def test_an_ablation_of_a_package_scores_and_judges_as_its_built_in_twin(extras: Path, level: str) -> None:
    """The mean by way of every token's value is the mean by way of sums; a choice of partners is that of resampling, bit for bit."""
    with true_float64():
        model = hooked("gpt2", dtype=torch.float64)
        task = toy_task(6, changed=2)
        own: Any = {"dictionaries": dictionaries("gpt2")} if level == "features" else {}
        for theirs, ours in (("x-mean", "mean"), ("x-partner", "resample"), ("x-pair", "counterfactual")):
            found = [attribute(model, task, method="exact", level=level, ablation=a, **own) for a in (theirs, ours)]
            assert found[0].provenance.direction == found[1].provenance.direction
            assert found[0].provenance.ablation == theirs and np.abs(found[1].mean).max() > 1e-6
            np.testing.assert_allclose(found[0].per_example, found[1].per_example, rtol=1e-9, atol=1e-12)
            circuit = discover(found[1], n=3)
            judged = [evaluate(model, task, circuit, ablation=a, n_random=1, **own) for a in (theirs, ours)]
            assert judged[0].faithfulness.value == pytest.approx(judged[1].faithfulness.value, abs=1e-9)
        with pytest.raises(MethodError, match="x-mean ablation has no such values"):
            attribute(model, task, method="exact", level=level, ablation="x-mean", direction="denoise", **own)


def test_values_may_be_put_into_a_request_without_a_name() -> None:
    model, task = hooked("gpt2"), toy_task(4, changed=2)
    request = prepare(model, task, methods=["exact"], level="heads", ablation="mean")
    halved = {key: x / 2 for key, x in request.ablation.means.items()}
    own = [replace(request, ablation=Ablation(kind, means=halved)).score()["exact"] for kind in ("mean", "mine")]
    assert np.array_equal(own[0].per_example, own[1].per_example) and own[1].provenance.ablation == "mine"
    zero = replace(request, ablation=Ablation("mine", means={k: 0 * x for k, x in halved.items()})).score()["exact"]
    assert np.array_equal(
        zero.per_example, attribute(model, task, method="exact", level="heads", ablation="zero").per_example
    )
    assert not np.array_equal(own[0].per_example, request.score()["exact"].per_example)


def test_paths_are_patched_under_an_ablation_of_a_package(extras: Path) -> None:
    model, task = hooked("gpt2"), toy_task(4, changed=2)
    effects = [path_patch(model, task, "a0.h1", "a1.h0<q>", ablation=a).mean for a in ("x-mean", "mean")]
    assert effects[0] == pytest.approx(effects[1], rel=1e-3) and effects[1] != 0


def test_partners_and_values_that_do_not_fit_are_refused() -> None:
    model, task = hooked("gpt2"), toy_task(4, lengths=(6, 8), changed=2)
    wrong = {
        "short": (
            Kind("short", "s", partners=lambda lengths, seed: [0]),
            "gave 1 partners; expected one for each of 4",
        ),
        "other": (
            Kind("other", "s", partners=lambda lengths, seed: [lengths.index(14 - n) for n in lengths]),
            "expected one of the same length",
        ),
        "none": (Kind("none", "s", values=lambda prompts: {}), "no value at"),
    }
    for name, (kind, said) in wrong.items():
        ABLATIONS.add(kind)
        try:
            with pytest.raises(MethodError, match=said):
                attribute(model, task, method="exact", level="heads", ablation=name)
        finally:
            del ABLATIONS[name]


def test_methods_of_tokens_come_from_packages_too(extras: Path) -> None:
    found = attribute_tokens(hooked("gpt2"), toy_task(2), method="x-token")
    assert found is not None and TOKEN_METHODS.origins == {"x-token": "extras 0.3"}
    with pytest.raises(InterpError, match="Did you mean x-token"):
        attribute_tokens(hooked("gpt2"), toy_task(2), method="x-toke")
