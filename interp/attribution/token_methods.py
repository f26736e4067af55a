"""The methods of token attribution by name. What each computes is in `interp.attribution.tokens`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from interp.attribution.tokens import token_gradients as gradients
from interp.attribution.tokens import token_perturbations as perturbations
from interp.attribution.tokens.token_job import Method
from interp.errors import MethodError
from interp.registries import Registry
from interp.rules.lrp import OF_NETS
from interp.rules.rules import DEEPLIFT, GRADIENT, OWN

METHODS: Final = Registry(
    "token method",
    "interp.token_methods",
    MethodError,
    (
        Method(
            "integrated-gradients",
            gradients.integrated_gradients,
            ("corrupt", "zero"),
            formula="(x - b) . sum_k w_k dm/dx(b + alpha_k (x - b))",
            cost="2F + K (F + B)",
            paper="Sundararajan et al. 2017",
            complete=True,
        ),
        Method(
            "feature-ablation",
            perturbations.feature_ablation,
            ("corrupt", "zero"),
            formula="m(prompt) - m(prompt with b at one position)",
            cost="(2 + P) F",
            paper="Zeiler and Fergus 2014",
            perturbs=True,
        ),
        Method(
            "gradient-x-input",
            gradients.gradient_x_input,
            ("zero",),
            formula="x . dm/dx",
            cost="2F + 1B",
            paper="Shrikumar et al. 2016",
        ),
        *(
            Method(own.name, gradients.relevance, ("zero",), "x . rho(x)", "2F + 1B", own.source, own.rules)
            for own in (*OWN, *OF_NETS)
            if own.rules != GRADIENT and not own.rules.secants
        ),
        Method(
            "deeplift",
            gradients.deeplift,
            ("corrupt", "zero"),
            formula="(x - b) . m, m averaged between both runs",
            cost="5F + 1B",
            paper="Shrikumar et al. 2017",
            rules=DEEPLIFT,
            complete=True,
        ),
        Method(
            "saliency",
            gradients.saliency,
            ("zero",),
            formula="sum of |dm/dx|",
            cost="2F + 1B",
            paper="Simonyan et al. 2014",
            unit=" per unit of the embedding",
        ),
        Method(
            "smooth-grad",
            gradients.smooth_grad,
            ("zero",),
            formula="sum of |mean over S samples of dm/dx(x + noise)|",
            cost="1F + S (F + B)",
            paper="Smilkov et al. 2017",
            samples=16,
            noise=0.15,
            unit=" per unit of the embedding",
        ),
        Method(
            "gradient-shap",
            gradients.gradient_shap,
            ("corrupt", "zero"),
            formula="(x - b) . mean over S random points between b and x of dm/dx",
            cost="2F + S (F + B)",
            paper="Lundberg and Lee 2017",
            samples=16,
        ),
        Method(
            "occlusion",
            perturbations.occlusion,
            ("corrupt", "zero"),
            formula="mean over windows with x of m(prompt) - m(prompt with b in the window)",
            cost="(3 + P) F",
            paper="Zeiler and Fergus 2014",
            perturbs=True,
            window=2,
        ),
        Method(
            "shapley",
            perturbations.shapley,
            ("corrupt", "zero"),
            formula="mean over S orders of what x changes behind those before it",
            cost="3F + S P F",
            paper="Castro et al. 2009",
            complete=True,
            perturbs=True,
            samples=24,
        ),
        Method(
            "kernel-shap",
            perturbations.kernel_shap,
            ("corrupt", "zero"),
            formula="weight of x in a linear fit to S sets, by Shapley's kernel",
            cost="(2 + S) F",
            paper="Lundberg and Lee 2017",
            perturbs=True,
            samples=128,
            needs="sklearn[perturbation]",
        ),
        Method(
            "lime",
            perturbations.lime,
            ("corrupt", "zero"),
            formula="weight of x in a sparse linear fit to S sets, by nearness",
            cost="(2 + S) F",
            paper="Ribeiro et al. 2016",
            perturbs=True,
            samples=128,
            needs="sklearn[perturbation]",
        ),
    ),
)
#: The names of captum's methods that would be wrong here.
_REFUSED: Final = {
    "lrp": "captum's LRP has no rule for GELU, SiLU and LayerNorm and raises there; use 'relp', 'relp-ah' or 'attnlrp'",
    "deep-lift": (
        "captum's DeepLift hooks activation modules of a kind that these models do not have and then silently equals "
        "gradient x input; use 'deeplift', which averages every operation"
    ),
}


def get_token_method(name: str) -> Method:
    """The method of this name. Raises: MethodError with the reason for a refused one, the near names for another, and the extra to install
    for one whose package is not there."""
    if reason := _REFUSED.get(name):
        raise MethodError(f"token method {name!r} is refused: {reason}.")
    found = METHODS[name]
    package, _, extra = found.needs.rstrip("]").partition("[")
    if package and find_spec(package) is None:
        raise MethodError(f"token method {name!r} needs {package}: pip install 'relevance-circuits[{extra}]'.")
    return found
