"""The options of tokens, each written once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from circuits.settings.run_options import LoadOptions, PrintOptions, PromptOptions, listed
from interp.option import option


@dataclass(frozen=True, kw_only=True)
class TokenScoring(PrintOptions, LoadOptions, PromptOptions):
    """What `circuits tokens` was given."""

    methods: str = option("integrated-gradients", "comma-separated: {names}", among="token methods", several=True)
    metric: str | None = option(None, "{names:5} [default: logit_diff, of a target log_prob]", among="metrics")
    baseline: str | None = option(
        None,
        "what tokens are replaced by: {names} [default: each method's; with --evaluate corrupt]",
        among="token baselines",
    )
    features: str = option("tokens", "what is scored together: {names}", among="token features")
    target: str | None = option(
        None, "explain this text of one token or several behind each prompt, or this class, in place of the answers"
    )
    evaluate: bool = option(False, "judge the methods: deletion, insertion, infidelity and others, with intervals")
    again: bool = option(
        False, "with --evaluate: also the measures that run the methods again: max-sensitivity and randomisation"
    )
    truth: str | None = option(None, "with --evaluate: the span of the task that is known to matter")
    shown: int = option(3, "print the tokens of so many prompts", least=1)
    out: Path | None = option(None, "also write all of the result to this file, as JSON", file="any")
    force: bool = option(False, "replace the file at --out")

    @property
    def names(self) -> list[str]:
        """The methods, each once."""
        return list(dict.fromkeys(listed(self.methods)))
