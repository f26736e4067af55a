"""Parquet tables. Scores keep every example (`Scores.save`); a circuit adds columns to that table, or has one of its own.

Columns of a circuit: `in_circuit` and `rank` beside scores; alone `rank`, `part`, `sender`, `receiver`, `kind`, `layer`, `head`, `neuron`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from circuits.circuit.circuit import Circuit
from circuits.interchange.contents import Contents, circuit_of
from circuits.interchange.strict import InterchangeError, members, parse_json
from interp.files import replacing
from interp.formatting.parquet import read_columns, read_headers, with_header, write_columns
from interp.parts.graph import Edge
from interp.scores.scores import HEADER as SCORES
from interp.scores.scores import Scores

FORMAT: Final = 1
_HEADER: Final = b"circuits.circuit"


def circuit_table(circuit: Circuit) -> Any:
    """A circuit as a pandas table, one row per part, the most important first."""
    import pandas as pd

    parts = circuit.parts
    columns: dict[str, Any] = {"rank": range(len(parts)), "part": [p.name for p in parts]}
    if circuit.level == "edges":
        columns |= {
            "sender": [str(e.sender) for e in circuit.edges],
            "receiver": [str(e.receiver) for e in circuit.edges],
        }
    columns["kind"] = [p.kind for p in parts]
    for name in ("layer", "head", "neuron"):
        columns[name] = pd.array(
            [getattr(p.receiver if isinstance(p, Edge) else p, name) for p in parts], dtype="Int64"
        )
    return pd.DataFrame(columns)


def write(contents: Contents, path: Path) -> list[Path]:
    """Write the table; scores in it are read by `Scores.load` too."""
    import pyarrow as pa

    with replacing(path) as temporary:
        if contents.scores is not None:
            contents.scores.save(temporary)
        if contents.circuit is not None:
            if contents.scores is None:
                table = pa.Table.from_pandas(circuit_table(contents.circuit))
            else:
                table = _joined(read_columns(temporary, str(path), InterchangeError), contents)
            header = {"format": FORMAT, "circuit": contents.circuit.to_dict()}
            write_columns(with_header(table, _HEADER, header), temporary)
    return [path]


def _joined(table: Any, contents: Contents) -> Any:
    """The table of scores with the columns of the circuit."""
    import pyarrow as pa

    rank = {part: i for i, part in enumerate(contents.circuit.parts)} if contents.circuit is not None else {}
    table = table.append_column("in_circuit", pa.array([part in rank for part in contents.parts]))
    return table.append_column("rank", pa.array([rank.get(part) for part in contents.parts], type=pa.int64()))


def read(path: Path) -> Contents:
    """Read what `write` or `Scores.save` wrote. Raises: InterchangeError for another table; ScoreError for damaged scores."""
    where = repr(str(path))
    header = read_headers(path, f"{where} cannot be read as parquet", InterchangeError)
    if SCORES not in header and _HEADER not in header:
        raise InterchangeError(
            f"{where} holds neither scores nor a circuit of ours; expected a table that circuits wrote."
        )
    scores = Scores.load(path) if SCORES in header else None
    circuit = None
    if _HEADER in header:
        data = members(where, parse_json(header[_HEADER].decode(), str(path)), ("format", "circuit"))
        if data["format"] != FORMAT:
            raise InterchangeError(f"{where} has format {data['format']!r}; expected {FORMAT}.")
        circuit = circuit_of(where, data["circuit"])
    return Contents(scores, circuit)
