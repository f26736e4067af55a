"""The names of registries and options, without importing what they stand for. `python docs/generate.py` writes this file."""

from __future__ import annotations

from typing import Final

METHODS: Final = (
    "auto",
    "atp-star",
    "atp",
    "relp",
    "relp-ah",
    "attnlrp",
    "cp-lrp",
    "gim",
    "deeplift",
    "atp-ig",
    "relp-ig",
    "atp-ig-sites",
    "relp-ig-sites",
    "random",
    "clean-corrupted",
    "eap-ig-activations",
    "eap",
    "eap-ig",
    "acdc",
    "ifr",
    "mask-ig",
    "iterated",
    "learned",
    "portfolio",
    "epsilon",
    "epsilon-plus",
    "epsilon-alpha2-beta1",
    "epsilon-plus-flat",
    "epsilon-gamma-box",
    "exact",
)
METRICS: Final = (
    "logit_diff",
    "normalized_logit_diff",
    "logit",
    "log_prob",
    "cross_entropy",
    "kl_source",
    "l2_source",
    "kl_base",
    "l2_base",
    "largest_change",
    "projection",
    "logsumexp",
    "prob_diff",
)
ABLATIONS: Final = (
    "counterfactual",
    "mean",
    "zero",
    "optimal",
    "resample",
)
PRESETS: Final = (
    "gradient",
    "relp",
    "relp-ah",
    "attnlrp",
    "cp-lrp",
    "gim",
    "deeplift",
)
TASKS: Final = (
    "ioi",
    "greater-than",
    "gender",
    "sva",
    "induction",
    "capital",
)
TOKEN_METHODS: Final = (
    "integrated-gradients",
    "feature-ablation",
    "gradient-x-input",
    "relp",
    "relp-ah",
    "attnlrp",
    "cp-lrp",
    "gim",
    "epsilon",
    "epsilon-plus",
    "epsilon-alpha2-beta1",
    "epsilon-plus-flat",
    "epsilon-gamma-box",
    "deeplift",
    "saliency",
    "smooth-grad",
    "gradient-shap",
    "occlusion",
    "shapley",
    "kernel-shap",
    "lime",
)
ALGORITHMS: Final = (
    "top",
    "greedy",
)
FORMATS: Final = (
    "eap-ig",
    "mib",
    "mib-circuits",
    "graphml",
    "dot",
    "svg",
    "png",
    "html",
    "parquet",
)
LAYER_SCORES: Final = (
    "influence",
    "perplexity",
    "exact",
    "relp",
    "lac",
)
STATISTICS: Final = (
    "mean",
    "moments",
    "covariance",
    "sparsity",
    "quantiles",
    "examples",
    "positions",
    "pairs",
)
MEASURES: Final = (
    "logit",
    "logit_diff",
    "log_prob_increase",
)
SPLITS: Final = (
    "tokens",
    "heads",
    "writers",
    "features",
)
PROBES: Final = (
    "logistic",
    "mean_difference",
    "lda",
    "ridge",
)
PROBE_SELECTIONS: Final = (
    "mean_difference",
    "f_statistic",
    "mutual_information",
    "telescopic",
    "exact",
)
ERASERS: Final = (
    "leace",
    "inlp",
    "mean_projection",
    "sal",
)
WRITTEN: Final = (
    "svg",
    "png",
    "html",
    "eap-ig",
    "mib",
    "mib-circuits",
    "graphml",
    "dot",
    "parquet",
)
READ: Final = (
    "eap-ig",
    "mib",
    "mib-circuits",
    "graphml",
    "parquet",
)
LEVELS: Final = (
    "blocks",
    "heads",
    "qkv",
    "neurons",
    "edges",
    "features",
)
DIRECTIONS: Final = (
    "denoise",
    "noise",
)
RANKINGS: Final = (
    "absolute",
    "signed",
)
POSITIONS: Final = (
    "all",
    "each",
    "end",
    "spans",
)
KEY_VALUES: Final = (
    "shared",
    "split",
)
QUADRATURES: Final = (
    "midpoint",
    "gauss-legendre",
    "trapezoid",
    "left",
    "right",
)
TOKEN_FEATURES: Final = (
    "tokens",
    "words",
    "spans",
    "sentences",
    "patches",
    "frames",
)
TOKEN_BASELINES: Final = (
    "corrupt",
    "zero",
)
DTYPES: Final = (
    "float32",
    "float64",
    "bfloat16",
    "float16",
)
DEPTH_UNITS: Final = (
    "attention",
    "mlp",
    "block",
    "both",
)
DEPTH_SEARCHES: Final = (
    "once",
    "greedy",
    "consecutive",
)
ARCHITECTURES: Final = (
    "topk",
    "batchtopk",
    "standard",
    "gated",
    "jumprelu",
    "matryoshka",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "batchtopk_transcoder",
)
TRAINED_IN: Final = (
    "float32",
    "float64",
)
KNOWN_ABLATIONS: Final = (
    "counterfactual",
    "zero",
)
BENCH_PARTS: Final = (
    "attribution",
    "exact",
    "masks",
    "peers",
)
PAPERS: Final = ("relp",)
LENSES: Final = ("logit",)
#: Group of entry points -> what one is called, and the names that are built in.
GROUPS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "interp.methods": ("method", METHODS),
    "interp.metrics": ("metric", METRICS),
    "interp.ablations": ("ablation", ABLATIONS),
    "interp.presets": ("rule preset", PRESETS),
    "interp.generators": ("task", TASKS),
    "interp.token_methods": ("token method", TOKEN_METHODS),
    "circuits.selections": ("selection", ALGORITHMS),
    "circuits.formats": ("format", FORMATS),
    "interp.layer_scores": ("layer score", LAYER_SCORES),
    "interp.statistics": ("statistic", STATISTICS),
    "interp.measures": ("measure of effects", MEASURES),
    "interp.splits": ("split of sources", SPLITS),
    "interp.probes": ("kind of probe", PROBES),
    "interp.probe_selections": ("selection of a probe", PROBE_SELECTIONS),
    "interp.erasers": ("eraser", ERASERS),
}
