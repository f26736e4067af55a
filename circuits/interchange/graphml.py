"""GraphML files: the graph of `networks`, with typed attributes, through networkx."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from circuits.interchange.contents import Contents
from circuits.interchange.networks import from_networkx, to_networkx
from circuits.interchange.strict import InterchangeError
from interp.files import replacing

_ELEMENTS: Final = ("graphml", "key", "graph", "node", "edge", "data")


def write(contents: Contents, path: Path) -> list[Path]:
    """Write the file. Raises: InterchangeError for a name with characters that XML cannot hold."""
    import networkx as nx

    graph = to_networkx(contents)
    for name in (*graph.nodes, *(name for *_, name in graph.edges(data="name"))):
        if not str(name).isprintable():
            raise InterchangeError(f"{name!r} has characters that XML cannot hold; rename its position.")
    # GraphML wants an id of its own for every edge, so keys are full names there.
    named: nx.MultiDiGraph[str] = nx.MultiDiGraph(**graph.graph)
    named.add_nodes_from(graph.nodes(data=True))
    named.add_edges_from((u, v, entry["name"], entry) for u, v, entry in graph.edges(data=True))
    with replacing(path) as temporary:
        nx.write_graphml_xml(named, temporary, named_key_ids=False)
    return [path]


def read(path: Path) -> Contents:
    """Read what `write` wrote. Raises: InterchangeError for a file that is no such GraphML, or that declares a DOCTYPE."""
    import networkx as nx

    try:
        text = path.read_text(encoding="utf-8")
        _check(text)
        graph = nx.parse_graphml(text, force_multigraph=True)
        return from_networkx(graph)
    except InterchangeError as error:
        raise InterchangeError(f"{str(path)!r}: {error}") from error
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, nx.NetworkXError, expat.ExpatError) as error:
        raise InterchangeError(f"{str(path)!r} cannot be read as GraphML: {error}.") from error


def _check(text: str) -> None:
    """No DOCTYPE, so no entities of its own; one graph; no element that networkx would pass over."""
    parser, seen = expat.ParserCreate(namespace_separator=" "), []

    def doctype(*_: Any) -> None:
        raise InterchangeError("it declares a DOCTYPE; expected plain GraphML, entities are not read.")

    def element(name: str, _: Any) -> None:
        seen.append(name.rpartition(" ")[2])

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = element
    parser.Parse(text, True)
    if strange := set(seen) - set(_ELEMENTS):
        raise InterchangeError(f"unknown element <{min(strange)}>; expected {', '.join(_ELEMENTS)}.")
    if seen.count("graph") != 1:
        raise InterchangeError(f"{seen.count('graph')} graphs; expected one.")
