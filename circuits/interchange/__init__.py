"""Other projects' formats, in and out: EAP-IG and MIB graph files, networkx, GraphML, DOT, parquet.

from circuits import interchange
interchange.write(scores, "graph.json", "eap-ig", shape=interchange.Shape.of(model.layout))
contents = interchange.read("graph.json")        # contents.scores, contents.circuit, contents.notes
"""

from circuits.interchange.contents import Contents
from circuits.interchange.eap_ig import EapGraph, Shape
from circuits.interchange.formats import FORMATS, Format, read, read_all, write
from circuits.interchange.mib import read_submission, write_submission
from circuits.interchange.networks import from_networkx, to_networkx
from circuits.interchange.strict import InterchangeError

__all__ = [
    "FORMATS",
    "Contents",
    "EapGraph",
    "Format",
    "InterchangeError",
    "Shape",
    "from_networkx",
    "read",
    "read_all",
    "read_submission",
    "to_networkx",
    "write",
    "write_submission",
]
