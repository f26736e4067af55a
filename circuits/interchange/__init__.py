"""How are other projects' files read and written?

`formats` is the registry; `contents` is what goes in and out; `eap_ig` and `eap_contents` are the graph files of
EAP-IG, `mib` submissions to MIB; `networks` is networkx, `graphml` and `dot` its files; `tables` is parquet;
`pictures` are files to look at; `strict` reads JSON of strangers; `sidecar` keeps what a format has no field for.

To add a format: one file with `write` and, where it is read, `read`; one entry of `FORMATS` in formats.py.
From another package: docs/extending/package.md.

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
