"""Hooked wrappers around live Hugging Face language models, and the attribution engine on them.

    import interp
    model = interp.load("demo")
    task = interp.task("ioi", model)
    scores = interp.attribute(model, task, method="relp", level="heads")

Everything public is reached from here; torch and transformers are imported when first needed.

Where to begin reading: `__init__.pyi` says which file each public name lives in, docs/house.md which rooms there are.
`interp/attribution/request.py` is what `attribute` runs, `interp/model/model.py` what a run of a model is, and
`interp/parts/sites.py` what its places are called. What is chosen by name, such as methods and metrics, is in registries
(`interp/registries.py`), which other packages add to. A room's `__init__.py` lists its files in reading order.
"""

from __future__ import annotations

import lazy_loader

from interp.formatting.showing import displayed_by

__version__ = "0.1.0"
__getattr__, _, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted([*__all__, "__version__"])

displayed_by("interp.display")
displayed_by("interp.display.looking")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
