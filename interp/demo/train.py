"""Train the embedded model: `python -m interp.demo.train --out DIR [--steps N] [--threads 2] [--seed 0]`."""

from __future__ import annotations

import argparse
import json
import logging
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch.nn import functional
from transformers import GPT2Config, GPT2LMHeadModel

from interp.demo import corpus, quality
from interp.demo import tokenizer as tokens
from interp.tasks import builtin

log = logging.getLogger(__name__)

CONTEXT = 64
#: Row lengths with their row counts: about as many tokens in each batch, and every position gets trained.
BATCHES = ((24, 64), (40, 40), (64, 24))
BATCH_SHARES = (5, 3, 2)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights, apart from the machine's arithmetic."""

    steps: int = 12_000
    seed: int = 0
    layers: int = 4
    heads: int = 4
    width: int = 128
    rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.05
    #: Share of steps, at the start, in which half the rows repeat random tokens: induction forms early that way.
    curriculum: float = 0.08


class Rows:
    """Batches of token rows, endless and seeded."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        self.tokenizer = tokenizer
        self.writer = corpus.Writer(seed)
        self.rng = random.Random(f"rows:{seed}")
        words = {piece for sentence in tokens.sample(seed, 5000) for piece in tokenizer.tokenize(sentence)}
        self.ids: list[int] = sorted(tokenizer.convert_tokens_to_ids(list(words)))

    def batch(self, repeats: float) -> torch.Tensor:
        """One batch; about `repeats` of its rows are random tokens that come again and again."""
        length, count = self.rng.choices(BATCHES, BATCH_SHARES)[0]
        random_rows = sum(self.rng.random() < repeats for _ in range(count))
        rows = [self._repeated(length) for _ in range(random_rows)]
        documents = [self._document(length) for _ in range(count - random_rows)]
        if documents:
            rows += [self._close(ids, length) for ids in self._encode(documents, length)]
        return torch.tensor(rows)

    def _encode(self, documents: list[str], length: int) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(documents, truncation=True, max_length=length)["input_ids"]
        return ids

    def _document(self, length: int) -> str:
        if self.rng.random() < corpus.SEQUENCES:
            return self.writer.sequence(length)
        return self.writer.document(self.rng.choice((1, math.ceil(length / 14))))

    def _repeated(self, length: int) -> list[int]:
        order = self.rng.sample(self.ids, self.rng.randint(4, length // 2))
        return [self.tokenizer.bos_token_id, *(order * length)][:length]

    def _close(self, ids: list[int], length: int) -> list[int]:
        """The document cut to the row, or ended and padded."""
        ended = [*ids, self.tokenizer.eos_token_id]
        return [*ended, *[self.tokenizer.pad_token_id] * (length - len(ended))][:length]


def new_model(recipe: Recipe, tokenizer: Any) -> GPT2LMHeadModel:
    """An untrained GPT-2 of the recipe's size."""
    torch.manual_seed(recipe.seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=CONTEXT,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        use_cache=True,
    )
    return GPT2LMHeadModel(config)


def optimizer_for(model: GPT2LMHeadModel, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW; only matrices decay."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, betas=(0.9, 0.98))


def rate_at(step: int, recipe: Recipe) -> float:
    """Learning rate: a linear start, then half a cosine down to a twentieth."""
    if step < recipe.warmup:
        return recipe.rate * (step + 1) / recipe.warmup
    done = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.rate * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done)))


def loss_of(model: GPT2LMHeadModel, rows: torch.Tensor, pad: int) -> torch.Tensor:
    """Mean next-token loss, padding left out."""
    logits = model(rows[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=pad)


def report(model: GPT2LMHeadModel, tokenizer: Any, step: int, n: int = 100) -> None:
    """Log the accuracies on held-out combinations."""
    model.train(False)
    results = [quality.measure(model, tokenizer, task, n=n) for task in builtin.names()]
    log.info("step %d: %s", step, ", ".join(f"{q.task} {q.accuracy:.3f} ({q.top1:.2f})" for q in results))
    model.train()


def train(recipe: Recipe, tokenizer: Any, every: int = 500) -> GPT2LMHeadModel:
    """The trained model; accuracies are logged every so many steps."""
    model = new_model(recipe, tokenizer)
    optimizer = optimizer_for(model, recipe)
    rows = Rows(tokenizer, recipe.seed)
    log.info("%d parameters, vocabulary %d", sum(p.numel() for p in model.parameters()), len(tokenizer))
    with Progress(transient=True) as progress:
        bar = progress.add_task("training", total=recipe.steps)
        for step in range(recipe.steps):
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, recipe)
            repeats = 0.5 if step < recipe.curriculum * recipe.steps else 0.02
            loss = loss_of(model, rows.batch(repeats), tokenizer.pad_token_id)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            progress.update(bar, advance=1, description=f"loss {loss.item():.3f}")
            if (step + 1) % every == 0:
                log.info("loss %.3f", loss.item())
                report(model, tokenizer, step + 1)
    model.train(False)
    return model


def save(model: GPT2LMHeadModel, tokenizer: Any, folder: Path) -> None:
    """Plain Hugging Face files."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # The weights are written readable by their owner only, which an installed package must not be.
    (folder / "model.safetensors").chmod(0o644)
    settings = folder / "tokenizer_config.json"
    # The class name that transformers 4 and 5 both know.
    changed = {**json.loads(settings.read_text()), "tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(changed, indent=2) + "\n")


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model files")
    parser.add_argument("--threads", type=int, default=2)
    defaults = Recipe()
    for option in ("steps", "seed", "layers", "heads", "width", "rate"):
        value = getattr(defaults, option)
        parser.add_argument(f"--{option}", type=type(value), default=value)
    options = vars(parser.parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    torch.set_num_threads(options.pop("threads"))
    out: Path = options.pop("out")
    recipe = Recipe(**options)
    started = time.perf_counter()
    tokenizer = tokens.train(tokens.sample(recipe.seed))
    if split := tokens.split_pieces(tokenizer):
        raise RuntimeError(f"not one token each: {split}")
    model = train(recipe, tokenizer)
    save(model, tokenizer, out)
    log.info("%s took %.1f minutes", recipe, (time.perf_counter() - started) / 60)
    report(model, tokenizer, recipe.steps, n=400)


if __name__ == "__main__":
    main()
