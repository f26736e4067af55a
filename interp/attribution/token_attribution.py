"""Attribution to input tokens: how much each token of the clean prompt contributes to the metric.

The gradient and perturbation methods are captum's, applied to the embedding (site `embed`) of the live model; the
relevance methods are the rule sets of `interp.rules.rules`. Axis words: `batch pos d_model step`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interp.attribution.token_request import TokenOptions, plan
from interp.attribution.tokens.token_job import Reference
from interp.attribution.tokens.token_targets import Target
from interp.attribution.tokens.token_values import TokenAttribution
from interp.given import kinds_checked
from interp.tasks.find import task as find_task
from interp.tasks.metric import Metric
from interp.tasks.task import Task


@kinds_checked
def attribute_tokens(
    model: Any,
    task: Task | str | Path,
    *,
    method: str = "integrated-gradients",
    metric: str | Metric | None = None,
    baseline: Reference | None = None,
    features: Any = "tokens",
    target: Target | None = None,
    per_token: bool = False,
    steps: int | None = None,
    samples: int | None = None,
    window: int | None = None,
    noise: float | None = None,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int | None = None,
    stack: str | None = None,
    show_progress: bool | None = None,
) -> TokenAttribution:
    """What each token of the clean prompts contributes to the metric at the last position, or where the answer is given.

    | method | value of token p (x: its embedding, b: its baseline) | baseline | cost |
    | --- | --- | --- | --- |
    | `integrated-gradients` | (x - b) . mean over the path of dm/dx, Gauss-Legendre | corrupt, zero | steps (F + B) |
    | `deeplift` | (x - b) . m, m the gradient with every operation averaged between prompt and baseline | corrupt, zero | 5F + 1B |
    | `feature-ablation` | m(prompt) - m(prompt with b in place of x) | corrupt, zero | 1F per token |
    | `occlusion` | the same of a sliding window, mean over those with x | corrupt, zero | 1F per token |
    | `shapley` | mean over orders of what x changes behind the tokens before it | corrupt, zero | samples x 1F per token |
    | `kernel-shap`, `lime` | weight of x in a linear fit of which tokens are there | corrupt, zero | samples x 1F |
    | `gradient-shap` | (x - b) . mean of dm/dx at random points between b and x | corrupt, zero | samples (F + B) |
    | `gradient-x-input` | x . dm/dx | zero | 1F + 1B |
    | `relp`, `relp-ah`, `attnlrp`, `cp-lrp`, `gim` | x . rho(x), rho the relevance coefficient | zero | 1F + 1B |
    | `saliency` | sum of sizes of dm/dx | none | 1F + 1B |
    | `smooth-grad` | the same of the mean of dm/dx over noisy x | none | samples (F + B) |

    x is the site `embed`: token and position embedding as the first block reads them. baseline `corrupt` is that of the
    paired prompt, so that only tokens that differ can score; `zero` is the zero vector; or embeddings of your own, [d_model] or
    [pos d_model]. The first listed is the default.
    features: what is scored together: `tokens`, `words`, `sentences`, `spans` (of the task) of texts; `patches` and `frames` are the single
    positions of images and sound; or groups of your own: for each position the number of its group, `{name: positions}`, superpixels
    [row column] of patches or pixels, or a list with one of these for each pair. A group's value is the sum of its positions', or what
    replacing it whole changes.
    target: what is explained in place of the answers: a text of one token or several behind each prompt, a class, or a list of them,
    one for each pair; by `log_prob` the sum of the log-probabilities of its tokens, in one pass over prompt and target. The target's own tokens
    stay as they are and have no value. per_token: also the values of each token of the target, one more attribution for each.
    steps: points of integrated gradients (32 by default) and of each softmax of `deeplift` (8); `delta` shows whether they were enough (with `zero` they rarely are:
    a norm turns fast near the zero vector). samples: random points of `gradient-shap` and `smooth-grad` (16), orders of `shapley` (24; all
    of them where they are no more), sets of `kernel-shap` and `lime` (128), drawn with `seed` for each prompt apart. window: positions that
    `occlusion` replaces together (2; squares of patches). noise: of `smooth-grad`, in standard deviations of the prompt's embeddings
    (0.15). limit: the first so many pairs. stack: of a model with several, whose tokens: those of the encoder by default (the prompts of the
    task), or what the decoder has been given (`stack=""`); what the other stack reads stays as it is in the clean prompt.

    Units: those of the metric; of `saliency` and `smooth-grad` per unit of the embedding. Source: Sundararajan et al. 2017 (integrated
    gradients), Zeiler & Fergus 2014 (ablation, occlusion), Castro et al. 2009 (shapley), Lundberg & Lee 2017 (the two of SHAP), Ribeiro et al.
    2016 (lime), Shrikumar et al. 2016 (gradient x input), `interp.rules.rules` for the others; captum 0.9 (Kokhlikyan et al. 2020).
    Raises: MethodError for an unknown or refused method, options that do not belong to it, features that overlap or leave positions out, a
    baseline of another size, or a package that is not there (`pip install 'relevance-circuits[perturbation]'`); MetricError for a
    distance to another run; UnsupportedRuleError where a rule set does not cover the model; TaskError, also for a target that the
    vocabulary lacks.
    """
    options = TokenOptions(
        method,
        metric,
        baseline,
        features,
        target,
        per_token,
        steps,
        samples,
        window,
        noise,
        seed,
        limit,
        batch_size,
        stack,
    )
    return plan(model, find_task(task, model), options).score(show_progress)
