"""Hooked wrappers around live Hugging Face language models, and the attribution engine on them.

    import interp
    model = interp.load("demo")
    task = interp.task("ioi", model)
    scores = interp.attribute(model, task, method="relp", level="heads")

Everything public is reached from here; torch and transformers are imported when first needed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "load": "interp.loading",
    "HookedModel": "interp.model",
    "Run": "interp.model",
    "Tokens": "interp.tokens",
    "Site": "interp.sites",
    "Edit": "interp.edits",
    "patch": "interp.edits",
    "add": "interp.edits",
    "zero": "interp.edits",
    "Rules": "interp.rules",
    "AttentionRule": "interp.rules",
    "GRADIENT": "interp.rules",
    "RELP": "interp.rules",
    "RELP_AH": "interp.rules",
    "ATTNLRP": "interp.rules",
    "CP_LRP": "interp.rules",
    "GIM": "interp.rules",
    "Task": "interp.tasks.task",
    "Pair": "interp.tasks.task",
    "load_task": "interp.tasks.files",
    "task": "interp.tasks.find",
    "Metric": "interp.metrics",
    "METRICS": "interp.metrics",
    "attribute": "interp.attribution",
    "attribute_all": "interp.attribution",
    "methods": "interp.attribution",
    "Scores": "interp.scores",
    "Graph": "interp.graph",
    "Edge": "interp.graph",
    "Node": "interp.nodes",
    "agreement": "interp.oracle",
    "Agreement": "interp.oracle",
    "attribute_tokens": "interp.token_attribution",
    "path_patch": "interp.path_patching",
    "logit_lens": "interp.lens",
    "direct_logit_attribution": "interp.lens",
    "direct_effects": "interp.direct_effects",
    "attention_patterns": "interp.patterns",
    "AttentionPatterns": "interp.patterns",
    "plot_scores": "interp.plots",
    "plot_agreement": "interp.plots",
    "plot_attention": "interp.attention_plots",
    "collect": "interp.activations",
    "Dictionary": "interp.dictionaries.dictionary",
    "load_dictionary": "interp.dictionaries.formats",
    "load_dictionaries": "interp.dictionaries.formats",
    "save_dictionary": "interp.dictionaries.formats",
    "evaluate_dictionary": "interp.dictionaries.evaluation.evaluate",
    "feature_edges": "interp.features.edges",
    "train_dictionary": "interp.dictionaries.training.run",
    "train_dictionaries": "interp.dictionaries.training.run",
    "InterpError": "interp.errors",
}

__all__ = [
    "ATTNLRP",
    "CP_LRP",
    "GIM",
    "GRADIENT",
    "METRICS",
    "RELP",
    "RELP_AH",
    "Agreement",
    "AttentionPatterns",
    "AttentionRule",
    "Dictionary",
    "Edge",
    "Edit",
    "Graph",
    "HookedModel",
    "InterpError",
    "Metric",
    "Node",
    "Pair",
    "Rules",
    "Run",
    "Scores",
    "Site",
    "Task",
    "Tokens",
    "__version__",
    "add",
    "agreement",
    "attention_patterns",
    "attribute",
    "attribute_all",
    "attribute_tokens",
    "collect",
    "direct_effects",
    "direct_logit_attribution",
    "evaluate_dictionary",
    "feature_edges",
    "load",
    "load_dictionaries",
    "load_dictionary",
    "load_task",
    "logit_lens",
    "methods",
    "patch",
    "path_patch",
    "plot_agreement",
    "plot_attention",
    "plot_scores",
    "save_dictionary",
    "task",
    "train_dictionaries",
    "train_dictionary",
    "zero",
]

if TYPE_CHECKING:
    from interp.activations import collect
    from interp.attention_plots import plot_attention
    from interp.attribution import attribute, attribute_all, methods
    from interp.dictionaries.dictionary import Dictionary
    from interp.dictionaries.evaluation.evaluate import evaluate_dictionary
    from interp.dictionaries.formats import load_dictionaries, load_dictionary, save_dictionary
    from interp.dictionaries.training.run import train_dictionaries, train_dictionary
    from interp.direct_effects import direct_effects
    from interp.edits import Edit, add, patch, zero
    from interp.errors import InterpError
    from interp.features.edges import feature_edges
    from interp.graph import Edge, Graph
    from interp.lens import direct_logit_attribution, logit_lens
    from interp.loading import load
    from interp.metrics import METRICS, Metric
    from interp.model import HookedModel, Run
    from interp.nodes import Node
    from interp.oracle import Agreement, agreement
    from interp.path_patching import path_patch
    from interp.patterns import AttentionPatterns, attention_patterns
    from interp.plots import plot_agreement, plot_scores
    from interp.rules import ATTNLRP, CP_LRP, GIM, GRADIENT, RELP, RELP_AH, AttentionRule, Rules
    from interp.scores import Scores
    from interp.sites import Site
    from interp.tasks.files import load_task
    from interp.tasks.find import task
    from interp.tasks.task import Pair, Task
    from interp.token_attribution import attribute_tokens
    from interp.tokens import Tokens


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'interp' has no attribute {name!r}")
    value = getattr(importlib.import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
