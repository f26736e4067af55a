"""The architectures that the parity test covers, by transformers' `model_type`. Others work where the map checks out."""

from typing import Final

TESTED: Final = (
    "gpt2", "gpt_neo", "gptj", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi",
    "phi3", "opt", "olmo", "olmo2", "stablelm", "bloom", "falcon", "cohere", "granite", "smollm3", "mixtral",
)  # fmt: skip
