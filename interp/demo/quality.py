"""How well a model does the built-in tasks on held-out combinations, beside what shortcuts would reach.

`python -m interp.demo.quality` prints the table for the embedded model.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Column, Table
from transformers import AutoModelForCausalLM, AutoTokenizer

from interp.demo import corpus, path
from interp.tasks import builtin
from interp.tasks import word_lists as w
from interp.tasks.pairs.pairs import Pair

#: A shortcut's score of one candidate answer, given the prompt's words.
Shortcut = Callable[[str, Sequence[str]], float]
#: Margins, answers over wrong, on the clean and on the corrupt prompt.
Margins = tuple[float, float]


@dataclass(frozen=True)
class Quality:
    """Shares of right pairs; `corrupt` and `top1` also count the corrupt prompts where those have answers of their own.

    For greater-than a pair is right only if the margin is also larger than on the corrupt prompt: preferring
    large endings whatever the start year would otherwise pass.
    """

    task: str
    pairs: int
    clean: float
    corrupt: float | None
    top1: float
    shortcut: str
    shortcut_accuracy: float

    @property
    def accuracy(self) -> float:
        """The lower of the two accuracies."""
        return self.clean if self.corrupt is None else min(self.clean, self.corrupt)


def measure(model: Any, tokenizer: Any, task: str, *, n: int = 400, seed: int = 1, **options: Any) -> Quality:
    """Accuracies of a model on one task, and the best shortcut's."""
    pairs = builtin.build(task, tokenizer, n=n, seed=seed, **options)
    flips = task != "greater-than"
    clean = _last_logits(model, tokenizer, [pair.clean for pair in pairs])
    corrupt = _last_logits(model, tokenizer, [pair.corrupt for pair in pairs])
    ids = [(_ids(tokenizer, pair.answers), _ids(tokenizer, pair.wrong)) for pair in pairs]
    margins = [(_margin(clean[row], *sets), _margin(corrupt[row], *sets)) for row, sets in enumerate(ids)]
    hits = [int(clean[row].argmax()) in _ids(tokenizer, _as_good(pair.answers)) for row, pair in enumerate(pairs)]
    if flips:
        hits += [int(corrupt[row].argmax()) in _ids(tokenizer, _as_good(pair.wrong)) for row, pair in enumerate(pairs)]
    on_clean, on_corrupt = _accuracies(margins, flips)
    best, best_accuracy = best_shortcut(task, pairs)
    return Quality(task, len(pairs), on_clean, on_corrupt, fmean(hits), best, best_accuracy)


def best_shortcut(task: str, pairs: Sequence[Pair]) -> tuple[str, float]:
    """The shortcut with the highest accuracy over clean and corrupt prompts."""
    results: dict[str, float] = {}
    for name, shortcut in _shortcuts(pairs).items():
        margins = [(_shortcut_margin(shortcut, p, p.clean), _shortcut_margin(shortcut, p, p.corrupt)) for p in pairs]
        clean, corrupt = _accuracies(margins, task != "greater-than")
        results[name] = clean if corrupt is None else (clean + corrupt) / 2
    best = max(results, key=results.__getitem__)
    return best, results[best]


def _accuracies(margins: Sequence[Margins], flips: bool) -> tuple[float, float | None]:
    """Right shares on the clean and the corrupt prompts; a tie counts half."""
    if not flips:
        return fmean(float(clean > max(0.0, corrupt)) for clean, corrupt in margins), None
    return (
        fmean(0.5 * (1 + _sign(clean)) for clean, _ in margins),
        fmean(0.5 * (1 - _sign(corrupt)) for _, corrupt in margins),
    )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _as_good(answers: tuple[str, ...]) -> tuple[str, ...]:
    """The answers, and for a verb the other verbs of its number: which verb comes is left open by the prompt."""
    for number in zip(*w.VERBS.values(), strict=True):
        if {answer.strip() for answer in answers} <= set(number):
            return tuple(map(w.spaced, number))
    return answers


def _ids(tokenizer: Any, answers: Sequence[str]) -> list[int]:
    return [tokenizer(answer, add_special_tokens=False)["input_ids"][0] for answer in answers]


def _last_logits(model: Any, tokenizer: Any, prompts: Sequence[str]) -> torch.Tensor:
    """Logits at each prompt's last token; padding stands on the right, where a causal model does not look."""
    rows = [torch.tensor(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    last = torch.tensor([len(row) - 1 for row in rows])
    with torch.no_grad():
        logits: torch.Tensor = model(padded).logits
    return logits[torch.arange(len(rows)), last]


def _margin(logits: torch.Tensor, right: list[int], wrong: list[int]) -> float:
    return float(logits[right].mean() - logits[wrong].mean())


def _shortcut_margin(shortcut: Shortcut, pair: Pair, prompt: str) -> float:
    words = prompt.replace(",", "").replace(".", "").split()
    right, wrong = (fmean(shortcut(a.strip(), words) for a in answers) for answers in (pair.answers, pair.wrong))
    return right - wrong


def _shortcuts(pairs: Sequence[Pair]) -> dict[str, Shortcut]:
    """What a model could do without the mechanism the task asks for."""
    frequent = Counter(answer.strip() for pair in pairs for answer in (*pair.answers, *pair.wrong))
    plural = {forms[0] for forms in w.VERBS.values()}
    follows = _bigrams()
    return {
        "most frequent answer": lambda answer, words: frequent[answer],
        "largest number": lambda answer, words: float(answer) if answer.isdigit() else 0.0,
        "first word named": lambda answer, words: -words.index(answer) if answer in words else -math.inf,
        "last word named": lambda answer, words: -words[::-1].index(answer) if answer in words else -math.inf,
        "word named most": lambda answer, words: words.count(answer),
        "last noun's number": lambda answer, words: float((answer in plural) == words[-1].endswith("s")),
        "bigrams of the text": lambda answer, words: follows[words[-1], answer],
    }


@cache
def _bigrams(sentences: int = 5000) -> Counter[tuple[str, str]]:
    """How often a word follows another in the training text."""
    writer = corpus.Writer(0)
    written = [writer.sentence().strip(".?!").split() for _ in range(sentences)]
    written += [writer.sequence(40).split() for _ in range(sentences // 10)]
    return Counter(pair for words in written for pair in pairwise(words))


def table(results: Sequence[Quality]) -> Table:
    """The results as a table for the console."""
    columns = ("task", "pairs", "clean", "corrupt", "top-1", "best shortcut", "reaches")
    shown = Table(*(Column(name, no_wrap=True) for name in columns))
    for q in results:
        corrupt = "-" if q.corrupt is None else f"{q.corrupt:.3f}"
        figures = (f"{q.clean:.3f}", corrupt, f"{q.top1:.3f}")
        shown.add_row(q.task, str(q.pairs), *figures, q.shortcut, f"{q.shortcut_accuracy:.3f}")
    return shown


def main() -> None:
    """Measure a model folder, the embedded one unless told."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(path()), help="model folder")
    parser.add_argument("--pairs", type=int, default=400, help="pairs for each task")
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(options.model).train(False)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    Console().print(table([measure(model, tokenizer, task, n=options.pairs) for task in builtin.names()]))


if __name__ == "__main__":
    main()
