"""`circuits bench`: what attribution and exact patching cost on this machine, as ratios to the plain model."""

from circuits.bench.workload import GPT2_SMALL, Measurement, Size, Skipped, gpt2_small_random

__all__ = ["GPT2_SMALL", "Measurement", "Size", "Skipped", "gpt2_small_random"]
