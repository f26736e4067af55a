"""`Net`: any `nn.Module` as a model without blocks, whose modules are sites by their paths."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from interp.errors import LoadError, MethodError, SiteError, TaskError, some
from interp.model.coverage.operations import Operations
from interp.model.inputs.taking import InputsLike, taken
from interp.model.model import HookedModel
from interp.model.modules.calling import main_input, needed_inputs, on_inputs
from interp.model.modules.linear import input_embedding, vocabularies
from interp.model.modules.lock import reserved
from interp.model.modules.soundness import check_watched
from interp.model.multiply_adds import Prices
from interp.model.nets.example_inputs import example_of_net, first_layer, table_of_ids
from interp.model.nets.net_layout import NetProbe, read_net
from interp.model.nets.net_places import n_positions, names_of_places
from interp.model.origin import Origin
from interp.parts.layout import NET_LEVELS, Layout
from interp.parts.named_inputs import TEXT, Inputs
from interp.parts.ports import NO_BLOCKS, available
from interp.parts.sites import GLOBAL, MODULE, Site, SiteLike, kind_of
from interp.parts.tokens import Tokens


def _table(model: nn.Module, inputs: Any) -> nn.Embedding | None:
    """What may read ids first: of a model of transformers what it calls that, else the first layer, or, where the example is whole numbers, the
    largest table; None where the input is no ids."""
    own = input_embedding(model) if hasattr(model, "get_input_embeddings") and main_input(model) == TEXT else None
    first = own if isinstance(own, nn.Embedding) else first_layer(model)
    x = inputs.get(main_input(model)) if isinstance(inputs, Mapping) else inputs
    if not isinstance(first, nn.Embedding) and isinstance(x, Tensor) and x.dtype in (torch.int64, torch.int32):
        first = input_embedding(model)
    return first if isinstance(first, nn.Embedding) else None


class Net(HookedModel):
    """A net without a chain of blocks, held as it is: a `HookedModel` whose sites are `embed` (its input, [batch pos channel]), the modules by
    their paths (`module:features.4`, `module:features.4:in`) and `logits`, what is read of its result.

    output: a function of what forward returns, [batch output]; by default the result itself. inputs: an example [1 ...], to watch one forward on;
    by default one of a usual size that runs.
    """

    found: NetProbe

    def __init__(
        self,
        model: nn.Module,
        *,
        name: str = "",
        processor: Any = None,
        output: Any = None,
        inputs: Any = None,
        origin: Origin | None = None,
    ) -> None:
        check_watched(model)
        if main_input(model) not in inspect.signature(model.forward).parameters:
            raise LoadError(
                f"{type(model).__name__}: its forward has no argument with a name; expected one, as forward(self, x). Wrap it in a module that has."
            )
        table = _table(model, inputs)
        self._ids = 0 if table is None else table.num_embeddings
        self._shapes: set[tuple[int, ...]] = set()
        super().__init__(model, name=name, origin=origin, processor=processor, output=output, inputs=inputs)

    def _discovered(self, output: Any) -> tuple[Layout, Operations]:
        if self._given is None:
            like = torch.zeros((), dtype=self.dtype, device=self.device)
            with reserved(self.hf):
                self._given = {main_input(self.hf): example_of_net(self.hf, main_input(self.hf), like)}
        embedding = ""
        if self._ids:
            with reserved(self.hf):
                embedding = table_of_ids(self.hf, self._given)
            self._ids = getattr(self.hf.get_submodule(embedding), "num_embeddings", self._ids)
        self.found = read_net(self.hf, output, self._given, embedding)
        return self.found.layout, self.found.operations

    def __repr__(self) -> str:
        return f"Net({self.name!r}, {type(self.hf).__name__}, modules={len(self.found.shapes)}, outputs={self.layout.d_vocab}, dtype={self.dtype})"

    @property
    def _like(self) -> Tensor:
        """A weight, or another number of the net."""
        tensors = chain(self.hf.parameters(), self.hf.buffers())
        return next((t for t in tensors if t.is_floating_point()), torch.zeros(()))

    @property
    def dtype(self) -> torch.dtype:
        return self._like.dtype

    @property
    def device(self) -> torch.device:
        """Where inputs go: the device of the first weight."""
        return self._like.device

    @property
    def probed(self) -> Mapping[str, Tensor]:
        """What it was watched on, one example, by its names."""
        return self._given or {}

    @property
    def takes_text(self) -> bool:
        """Never: what it takes are tensors, also where these are ids."""
        return False

    @property
    def vocabularies(self) -> dict[str, int]:
        """How many ids its main input may be of, where its first layer is an embedding, and that of a decoder beside it."""
        own = {main_input(self.hf): self._ids} if self._ids else {}
        return own | (vocabularies(self.hf) if len(needed_inputs(self.hf)) > 1 else {})

    @property
    def example_axes(self) -> int:
        """How many axes one example of the main input has."""
        return next(iter(self.probed.values())).ndim - 1

    def positions(self, given: InputsLike | None = None, stack: str = "") -> tuple[str, ...]:
        """What the positions of its input are called: `r0c0`, `r0c1`, ... (row and column) of images, with `d0` in front of volumes; `t0`, ... of
        sequences; `x0`, ... of numbers without an order."""
        found = taken(self, self.probed if given is None else given)
        return names_of_places(found.shape, self.layout.entry, bool(self._ids)) if isinstance(found, Inputs) else ()

    def n_positions(self, given: Tokens | Inputs, stack: str | None = None) -> int:
        """How many positions an input of this shape has."""
        return n_positions(tuple(given.shape), self.layout.entry, bool(self._ids)) if isinstance(given, Inputs) else 0

    @property
    def nodes(self) -> Mapping[str, tuple[int, ...]]:
        """The modules that are scored at level `modules`, in order, with the shape of what each returns without the batch: the innermost ones that
        are called once and give something else than they read."""
        return {path: self.found.shapes[path] for path in self.found.nodes}

    def sites(self) -> list[str]:
        """The sites that this net has: `embed`, the modules by their paths, `logits`."""
        modules = [str(Site(MODULE, path=path)) for path in self.found.shapes]
        return [*([] if self._embedded_twice() else ["embed"]), *modules, "logits"]

    def missing_sites(self) -> dict[str, str]:
        """The kinds of site, and the modules, that it does not have, with the reason."""
        kinds = {kind: missing for kind, missing in available(self.layout) if missing} | self._embedded_twice()
        return kinds | {str(Site(MODULE, path=path)): why for path, why in self.found.missing.items()}

    def _embedded_twice(self) -> dict[str, str]:
        """Why `embed` is no site, where the table behind which it stands is called again: by a decoder that shares it."""
        table = self.layout.embedding
        return {"embed": f"{table}: {self.found.missing[table]}"} if table in self.layout.repeated else {}

    def resolve(self, site: SiteLike) -> list[Site]:
        """The site that a name means here. Raises: SiteError for an unknown or unavailable one."""
        if (
            isinstance(site, (str, Site))
            and (kind := kind_of(site)) != MODULE
            and kind not in GLOBAL
            and kind in dict(available(self.layout))
        ):
            raise SiteError(f"site {str(site)!r} is not available on this model: {NO_BLOCKS}")
        found = super().resolve(site)
        for one in found:
            if missing := self._embedded_twice().get(one.kind):
                raise SiteError(f"site '{one}': {missing}")
            if one.kind == MODULE and one.path in self.layout.repeated:
                raise SiteError(f"site '{one}': {self.found.missing[one.path]}")
        return found

    def check_level(self, level: str) -> None:
        """Raises: MethodError for a level of models with blocks."""
        if level not in NET_LEVELS:
            raise MethodError(
                f"level {level!r}: this net has no chain of blocks with attention, so no heads, edges or features; expected 'modules' or 'channels'."
            )

    def check_shape(self, given: Inputs) -> None:
        """Raises: TaskError without an input that it was watched with, and for inputs of another shape than then, which do not run."""
        if missing := [name for name in self.probed if name not in given.tensors]:
            raise TaskError(
                f"given {', '.join(given.tensors)}; {type(self.hf).__name__} needs {', '.join(self.probed)}: {some(missing)} missing."
            )
        if given.shape in self._shapes or given.shape == tuple(self.probed[given.main].shape[1:]):
            return
        one = {name: x[:1] if x.ndim else x for name, x in given.tensors.items()}
        try:
            with reserved(self.hf), torch.no_grad():
                self.hf(**on_inputs(self.hf, one))
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a module of somebody else may raise anything
            said = str(error).strip().partition("\n")[0]
            was = ["batch", *self.probed[given.main].shape[1:]]
            raise TaskError(
                f"{given.main}: {type(self.hf).__name__} does not run on {list(given.tensors[given.main].shape)} ({said:.200}); it does on "
                f"[{', '.join(map(str, was))}]."
            ) from error
        self._shapes.add(given.shape)

    def check_length(self, n: int) -> None:
        """Any length that runs."""

    @cached_property
    def prices(self) -> Prices:
        """What a run costs, in multiply-adds: counted on one forward."""
        with reserved(self.hf), torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.hf(**on_inputs(self.hf, self.probed))
        positions = n_positions(tuple(next(iter(self.probed.values())).shape[1:]), self.layout.entry, bool(self._ids))
        each = max(1, counter.get_total_flops() // 2 // max(1, positions))
        return Prices({("net", 0): each}, 0, 0, self.layout.d_vocab)
