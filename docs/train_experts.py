"""Trains a tiny Qwen3-MoE on the text of the embedded model, and beside it the same net with dense MLPs.

    python docs/train_experts.py --out FOLDER
    python docs/train_experts.py --out FOLDER --experts 0

Text, tokeniser and loss are those of `interp.demo.train`. The result is a plain Hugging Face folder: `interp.load(FOLDER)`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from tables import say

#: Chosen experts of each token, and the width of each: a dense MLP is as wide as those that are chosen.
CHOSEN, WIDTH = 2, 128


def options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="A tiny Qwen3-MoE, trained.")
    parser.add_argument("--out", required=True, type=Path, help="folder for the model; it must not hold one")
    parser.add_argument("--experts", type=int, default=8, help="in each block, of which 2 are chosen; 0: a dense MLP")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--width", type=int, default=96, help="of the stream")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--pairs", type=int, default=200, help="held-out pairs of each task, to say what was learnt")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main(given: argparse.Namespace) -> int:
    import torch
    from transformers import AutoTokenizer

    from interp.demo import path, quality
    from interp.formatting.numbers import several
    from interp.tasks import builtin

    if (given.out / "config.json").exists():
        sys.exit(f"{given.out} holds a model; choose another --out.")
    tokenizer = AutoTokenizer.from_pretrained(path())
    start = time.perf_counter()
    model = trained(given, tokenizer)
    for part in (model, tokenizer):
        part.save_pretrained(given.out)
    say(
        f"{sum(p.numel() for p in model.parameters())} parameters, {time.perf_counter() - start:.0f} s, {several(torch.get_num_threads(), 'thread')}."
    )
    found = [quality.measure(model, tokenizer, task, n=given.pairs) for task in builtin.names()]
    say("right on held-out pairs: " + ", ".join(f"{q.task} {q.accuracy:.2f}" for q in found))
    return 0


def trained(given: argparse.Namespace, tokenizer: Any) -> Any:
    """The trained model, ready to be run."""
    import torch

    from interp.demo import train

    recipe = train.Recipe(steps=given.steps, seed=given.seed, layers=given.layers, width=given.width)
    model, rows = untrained(given, tokenizer), train.Rows(tokenizer, given.seed)
    optimizer = train.optimizer_for(model, recipe)
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = train.rate_at(step, recipe)
        early = step < recipe.curriculum * recipe.steps
        loss = loss_of(model, rows.batch(0.5 if early else 0.02), tokenizer.pad_token_id)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if (step + 1) % 500 == 0:
            say(f"step {step + 1}: loss {loss.item():.3f}")
    return model.train(False)


def untrained(given: argparse.Namespace, tokenizer: Any) -> Any:
    """The net with random weights. Its load loss has the weight that transformers gives it by default."""
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(given.seed)
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer),
        hidden_size=given.width,
        num_hidden_layers=given.layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=given.width // 4,
        num_experts=given.experts or 1,
        num_experts_per_tok=CHOSEN if given.experts else 1,
        moe_intermediate_size=WIDTH,
        intermediate_size=CHOSEN * WIDTH,
        mlp_only_layers=[] if given.experts else list(range(given.layers)),
        norm_topk_prob=True,
        output_router_logits=bool(given.experts),
        max_position_embeddings=64,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3MoeForCausalLM(config)


def loss_of(model: Any, rows: Any, pad: int) -> Any:
    """Mean next-token loss, padding left out, and the load loss of the experts."""
    from torch.nn import functional

    out = model(rows[:, :-1], use_cache=False)
    loss = functional.cross_entropy(out.logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=pad)
    return loss if out.aux_loss is None else loss + model.config.router_aux_loss_coef * out.aux_loss


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    sys.exit(main(options()))
