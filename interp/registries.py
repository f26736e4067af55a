"""One kind of table for everything that has a name: methods, metrics, ablations, rule presets, tasks, selections, formats.

A table holds what its own package registers. A name that it lacks may be offered by an installed package, as an entry point of
the table's group; that package is loaded when the name is asked for, and never by listing or looking whether a name is there.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import wraps
from threading import RLock
from types import FrameType
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

    @property
    def module(self) -> str:
        """The top-level name of its modules."""
        return self.point.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


#: Whose modules register what is built in.
_OURS: Final = ("interp", "circuits")
_lock: Final = RLock()
_registries: Final[list[Registry[Any]]] = []


def loaded() -> dict[str, str]:
    """What came from other packages in this process: kind and name -> package and version."""
    return {f"{table.kind} {name}": origin for table in _registries for name, origin in table.origins.items()}


def offered(group: str) -> list[Offer]:
    """What installed packages offer in a group, without loading any of it."""
    from importlib.metadata import entry_points

    return [
        Offer(p.name, (p.dist and p.dist.name) or "?", (p.dist and p.dist.version) or "?", p)
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
        #: Name -> the top-level module that registered it.
        self._owners: dict[str, str] = {}
        _registries.append(self)
        for entry in entries:
            self.add(entry)

    def add(self, value: T, *, over: T | None = None) -> None:
        """Register a thing. `over`: the thing of this name that it takes the place of, as it says more.

        Raises: the registry's error for a name that is there and somebody else's, or that another package offers.
        """
        name, owner = value.name, _registering()
        package = self._package(owner, name)
        taken = (
            package is not None and self._owners.get(name, owner) != owner
        )  # a program may complete what is built in
        if name in self and (over is None or self[name] is not over or taken):
            raise self.error(f"{self.kind} {name!r} is registered twice; give the second another name.")
        if package is not None:
            value = _guarded_fields(value, lambda error: self._fault(name, package, error))
            self.origins[name] = str(package)
        self[name], self._owners[name] = value, owner

    def _package(self, owner: str, name: str) -> Offer | None:
        """An offer of the installed package that registers; None where we do, or a program. Raises: where others offer the name."""
        if owner in _OURS:
            return None
        found = [offer for offer in offered(self.group) if offer.name == name]
        if others := [offer for offer in found if offer.module != owner]:
            if len(found) > len(others):
                self._only(name, found)
            raise self.error(f"{self.kind} {name!r} is offered by {others[0]}; give yours another name.")
        groups = dict.fromkeys((self.group, *(table.group for table in _registries)))
        return next((offer for group in groups for offer in offered(group) if offer.module == owner), None)

    def names(self) -> list[str]:
        """All names: those that are here, and those that packages offer, which are not loaded for it."""
        return list(dict.fromkeys([*self, *(offer.name for offer in offered(self.group))]))

    def has(self, name: str) -> bool:
        """Whether the name is here or offered by a package, which is not loaded for it."""
        return name in self or any(offer.name == name for offer in offered(self.group))

    def __getitem__(self, name: str) -> T:
        if not isinstance(name, str):
            raise self.error(unknown(self.kind, name, self.names()))
        return super().__getitem__(name)

    def __missing__(self, name: str) -> T:
        with _lock:
            if name not in self:  # another thread may have been first
                self._load(name)
            return self[name]

    def _load(self, name: str) -> None:
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

    def _only(self, name: str, found: list[Offer]) -> Offer:
        """The one offer of a name. Raises: the registry's error where packages compete for it."""
        if len(found) > 1:
            raise self.error(
                f"{self.kind} {name!r} is offered by {' and by '.join(map(str, found))}; uninstall one of them."
            )
        return found[0]

    @contextmanager
    def _loads(self, name: str, offer: Offer) -> Iterator[None]:
        """While a package is loaded. Raises: the registry's error for whatever fails in it, and takes back what it registered."""
        before, modules = [dict(table) for table in _registries], set(sys.modules)
        try:
            yield
        except BaseException as error:  # also one that leaves the program
            for table, entries in zip(_registries, before, strict=False):
                table._take_back(offer.module, entries)
            for module in set(sys.modules) - modules:
                if module.partition(".")[0] == offer.module:
                    del sys.modules[module]  # so that asking again gives the same error
            if not isinstance(error, Exception | SystemExit):
                raise
            raise self.error(
                f"{self.kind} {name!r} of package {offer} cannot be loaded: {_said(error)}. Repair or uninstall {offer.package}."
            ) from error

    def _take_back(self, owner: str, before: Mapping[str, T]) -> None:
        """Forget what a package registered that did not load to its end."""
        for name in [name for name, whose in self._owners.items() if whose == owner]:
            if name in before:
                self[name] = before[name]
            else:
                self.pop(name, None)
                self.origins.pop(name, None)
                del self._owners[name]

    def _fault(self, name: str, offer: Offer, error: Exception) -> InterpError:
        """What an exception inside a thing of a package becomes."""
        return self.error(
            f"{self.kind} {name!r} of package {offer} failed: {_said(error)}. The fault is in {offer.package}; tell its authors."
        )


def _registering() -> str:
    """The top-level name of the module that registers: of the first frame outwards that is no function of ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if name not in _OURS or frame.f_code.co_name == "<module>":
            return name
        frame = frame.f_back
    return ""


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".")


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
        except (InterpError, MemoryError):
            raise
        except Exception as error:
            if type(error).__name__ == "OutOfMemoryError":  # of torch, which is not imported for this
                raise
            raise fault(error) from error
        return _guarded(found, fault) if callable(found) and not isinstance(found, type) else found

    return guarded
