"""One kind of table for everything that has a name: methods, metrics, ablations, rule presets, tasks, selections, formats.

A table holds what its own package registers. A name that it lacks may be offered by an installed package, as an entry point of
the table's group; that package is loaded when the name is asked for, and never by listing or looking whether a name is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar, cast

from interp.errors import InterpError, unknown

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class About(NamedTuple):
    """What a registered thing says of itself: a sentence or formula; the units of what it gives; its cost in forwards F and
    backwards B over the data; the paper or page that it is from. Empty where it has none."""

    sentence: str
    units: str = ""
    cost: str = ""
    source: str = ""


class Entry(Protocol):
    """What can be registered: a frozen dataclass with a name, which says what it is."""

    @property
    def name(self) -> str: ...

    @property
    def about(self) -> About: ...


T = TypeVar("T", bound=Entry)


@dataclass(frozen=True)
class Offer:
    """A name that an installed package offers in a group of entry points; `point` loads it."""

    name: str
    package: str
    version: str
    point: EntryPoint

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@dataclass(frozen=True)
class _Loading:
    """A package while it is loaded: the offer that is asked for, how to take back what came, and what is offered by group."""

    offer: Offer
    undo: list[Callable[[], object]] = field(default_factory=list)
    offers: dict[str, list[Offer]] = field(default_factory=dict)

    def of(self, group: str, name: str) -> list[Offer]:
        """The offers of a name, looked up once for each group: our own modules may register much while a package loads."""
        if group not in self.offers:
            self.offers[group] = offered(group)
        return [offer for offer in self.offers[group] if offer.name == name]


_loading: ContextVar[_Loading | None] = ContextVar("interp_registry", default=None)
_loaded: Final[dict[str, str]] = {}


def loaded() -> dict[str, str]:
    """What came from other packages in this process: kind and name -> package and version."""
    return dict(_loaded)


def offered(group: str) -> list[Offer]:
    """What installed packages offer in a group, without loading any of it."""
    from importlib.metadata import entry_points

    return [
        Offer(p.name, p.dist.name if p.dist else "?", p.dist.version if p.dist else "?", p)
        for p in sorted(entry_points(group=group), key=lambda p: (p.name, p.value))
    ]


class Registry(dict[str, T]):
    """Things of one kind by name, in the order of their registration. `registry[name]` is the thing, or the registry's error.

    kind: what one is called in messages. group: the entry points by which packages offer more. error: raised for a name that
    is not there, is there twice, or does not come out of its package.
    """

    def __init__(self, kind: str, group: str, error: type[InterpError], entries: Iterable[T] = ()) -> None:
        super().__init__()
        self.kind, self.group, self.error = kind, group, error
        #: Name -> package and version, of what came from other packages.
        self.origins: dict[str, str] = {}
        for entry in entries:
            self.add(entry)

    def add(self, value: T, *, over: T | None = None) -> None:
        """Register a thing. `over`: the thing of this name that it takes the place of, as it says more.

        Raises: the registry's error for a name that is there, or that another package offers.
        """
        name = value.name
        if name in self and (over is None or self[name] is not over):
            raise self.error(f"{self.kind} {name!r} is registered twice; give the second another name.")
        offer = self._own_offer(name)
        if offer is not None:
            value = _guarded_fields(value, lambda error: self._fault(name, offer, error))
        self[name] = value
        if offer is not None:
            self.origins[name] = _loaded[f"{self.kind} {name}"] = str(offer)

    def names(self) -> list[str]:
        """All names: those that are here, and those that packages offer, which are not loaded for it."""
        return list(dict.fromkeys([*self, *(offer.name for offer in offered(self.group))]))

    def has(self, name: str) -> bool:
        """Whether the name is here or offered by a package, which is not loaded for it."""
        return name in self or any(offer.name == name for offer in offered(self.group))

    def __missing__(self, name: str) -> T:
        found = [offer for offer in offered(self.group) if offer.name == name]
        if not found:
            raise self.error(unknown(self.kind, name, self.names()))
        offer = self._only(name, found)
        with self._loads(name, offer):
            offer.point.load()
        if name not in self:
            raise self.error(
                f"package {offer} offers {self.kind} {name!r} in group {self.group!r}, but {offer.point.value!r} does not "
                f"register it; expected the entry point to name a module that does. Repair or uninstall {offer.package}."
            )
        return self[name]

    def _only(self, name: str, found: list[Offer]) -> Offer:
        """The one offer of a name. Raises: the registry's error where packages compete for it."""
        if len(found) > 1:
            raise self.error(
                f"{self.kind} {name!r} is offered by {' and by '.join(map(str, found))}; uninstall one of them."
            )
        return found[0]

    def _own_offer(self, name: str) -> Offer | None:
        """The offer of this name by the package that is being loaded, if it makes one: it may be the first to import ours."""
        loading = _loading.get()
        if loading is None:
            return None
        found = loading.of(self.group, name)
        if not any(offer.package == loading.offer.package for offer in found):
            return None
        loading.undo.append(lambda: self._take_back(name))
        return self._only(name, found)

    @contextmanager
    def _loads(self, name: str, offer: Offer) -> Iterator[None]:
        """While a package is loaded. Raises: the registry's error for whatever fails in it, and takes back what it registered."""
        own = _Loading(offer)
        token = _loading.set(own)
        try:
            yield
        except Exception as error:
            for undo in reversed(own.undo):
                undo()
            raise self.error(
                f"{self.kind} {name!r} of package {offer} cannot be loaded: {type(error).__name__}: {error}. "
                f"Repair or uninstall {offer.package}."
            ) from error
        finally:
            _loading.reset(token)

    def _take_back(self, name: str) -> None:
        """Forget a thing of a package that did not load to its end."""
        self.pop(name, None)
        self.origins.pop(name, None)
        _loaded.pop(f"{self.kind} {name}", None)

    def _fault(self, name: str, offer: Offer, error: Exception) -> InterpError:
        """What an exception inside a thing of a package becomes."""
        return self.error(
            f"{self.kind} {name!r} of package {offer} failed: {type(error).__name__}: {error}. "
            f"The fault is in {offer.package}; tell its authors."
        )


Fault = Callable[[Exception], InterpError]


def _guarded_fields(value: T, fault: Fault) -> T:
    """The value with each function that it holds guarded."""
    if not is_dataclass(value) or isinstance(value, type):
        raise TypeError(f"{value!r}: expected a dataclass")
    held = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    functions = {name: _guarded(x, fault) for name, x in held.items() if callable(x) and not isinstance(x, type)}
    return cast(T, replace(value, **functions))


def _guarded(function: Callable[..., Any], fault: Fault) -> Callable[..., Any]:
    """The function, and every function that it returns, with what fails in it raised as `fault` says."""

    @wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        try:
            found = function(*args, **kwargs)
        except InterpError:
            raise
        except Exception as error:
            raise fault(error) from error
        return _guarded(found, fault) if callable(found) and not isinstance(found, type) else found

    return guarded
