"""Text for the embedded model: task sentences with training combinations only, and filler sentences.

A document is a few sentences, or a sequence of random words that starts over again and again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from interp.tasks import word_lists as w
from interp.tasks.builtin import Draft, drafts, held_out

#: What a sentence is about, and how often. IOI and years need the most examples to be learnt.
SHARES = {"ioi": 8, "greater-than": 4, "gender": 2, "sva": 3, "capital": 2, "filler": 3}
#: Share of the documents that are repeated sequences of words.
SEQUENCES = 0.2
#: Share of greater-than sentences whose start year ends in 01, as in the task's corrupt prompts.
EARLY_STARTS = 0.05

TAILS = {
    "ioi": (".", ".", " before lunch.", " with a smile."),
    "greater-than": (".", ".", ", as the old book says."),
    "gender": (" was happy.", " went home.", " bought a {gift}.", " walked to the {place}.", " wanted to sleep."),
    "be": (" very old.", " near the {place}.", " not here.", " red and blue."),
    "past": (" very old.", " near the {place}.", " not here.", " red and blue."),
    "have": (" a new {gift}.", " nothing to do with the {event}.", " a good place in the {place}."),
    "do": (" not like the {event}.", " not need a {gift}.", " not move."),
    "capital": (".", ".", ", and it is a large city.", ", near the {place} and the {place}."),
}
FILLERS = (
    "{name} walked slowly to the {place}.",
    "The {adjective} {noun} {verb} near the {place}.",
    "Every {time} {name} {verb} and looked at the {adjective} {gift}.",
    "A {gift} is not a {noun}, but it can be {adjective}.",
    "It was a {adjective} {time}, and the {noun} {verb}.",
    "{name} said that the {event} was {adjective}.",
    "Where is the {adjective} {gift}? It is in the {place}.",
    "There were {number} people in the {place} that {time}.",
    "A ticket for the {event} costs {number}00 crowns.",
    "The {noun} found a {gift} and put it on the {adjective} table.",
    "We read about the {event} in {country}, but nobody {verb}.",
    "Do not leave the {gift} in the {place}, {name}!",
    "Most people in {country} love a {adjective} {time}.",
)
SLOTS = {
    "name": (*w.GIRLS, *w.BOYS),
    "noun": tuple(single for single, _ in w.NOUNS),
    "place": w.PLACES,
    "gift": w.GIFTS,
    "event": w.EVENTS,
    "country": tuple(country for country, _ in w.CAPITALS),
    "adjective": w.listed("old new small large green quiet heavy strange cold warm happy famous"),
    "verb": w.listed("slept waited laughed worked played talked stayed disappeared"),
    "time": w.listed("morning evening night day summer winter"),
    "number": tuple(str(number) for number in range(10, 100, 5)),
}


class Writer:
    """Writes training text without end; the same seed writes the same text."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(f"text:{seed}")
        self.sources = {
            name: drafts(name, None, seed=seed, split="train") for name in SHARES if name not in ("sva", "filler")
        }
        self.verbs = {verb: drafts("sva", None, seed=seed, split="train", verb=verb) for verb in w.VERBS}

    def sentence(self) -> str:
        """One sentence: a task's prompt with its answer and an ending, or a filler."""
        kind = self.rng.choices(tuple(SHARES), tuple(SHARES.values()))[0]
        if kind == "filler":
            return self._fill(self.rng.choice(FILLERS))
        if kind == "sva":
            kind = self.rng.choice(tuple(self.verbs))
            draft = _next(self.verbs[kind])
        else:
            draft = _next(self.sources[kind])
        prompt, answer = self._side(kind, draft)
        tail = "?" if prompt.endswith("isn't") else self.rng.choice(TAILS[kind])
        return prompt + answer + self._fill(tail)

    def document(self, sentences: int) -> str:
        """Sentences in a row."""
        return " ".join(self.sentence() for _ in range(sentences))

    def sequence(self, words: int) -> str:
        """Random distinct words, then reruns of parts of them, `words` words in all."""
        while True:
            order = self.rng.sample(w.PLAIN, self.rng.randint(4, 14))
            if not held_out("induction", tuple(order)):
                break
        written = list(order)
        while len(written) < words:
            start = self.rng.randrange(len(order) - 2)
            written += order[start : start + self.rng.randint(3, len(order))]
        return "".join(map(w.spaced, written[:words]))

    def _side(self, kind: str, draft: Draft) -> tuple[str, str]:
        """The clean prompt and one of its answers; now and then, for years, the corrupt prompt and one of its own."""
        if kind == "greater-than" and self.rng.random() < EARLY_STARTS:
            later = [ending for ending in (*draft.answers, *draft.wrong) if ending > "01"]
            return "".join(text for text, _ in draft.corrupt), self.rng.choice(later)
        return "".join(text for text, _ in draft.clean), self.rng.choice(draft.answers)

    def _fill(self, template: str) -> str:
        return template.format_map({slot: self.rng.choice(choices) for slot, choices in SLOTS.items()})


def _next(source: Iterator[Draft | None]) -> Draft:
    """The next draft that belongs to the split."""
    return next(draft for draft in source if draft is not None)
