"""Tables from outside: CSV files of sites, users and tracks, every fault of which is named by file, line and column."""

import csv
import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgetwin.errors import InputError


class Table(NamedTuple):
    """A CSV file as words: `columns` maps each column's name to its (rows,) cells; `lines` has the (rows,) line of each row."""

    file: str
    lines: list[int]
    columns: dict[str, list[str]]

    def fault(self, row: int, column: str, allowed: str) -> NoReturn:
        """Raises the InputError for one cell."""
        given = " ".join(self.columns[column][row].split())
        raise InputError(f'{self.file}, line {self.lines[row]}: {column} = "{given}": {allowed}')


def read(path: Path, required: Sequence[str], optional: Sequence[str] | None = ()) -> Table:
    """The table in a comma-separated file with a header line; `optional` None lets any further column pass."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [" ".join(word.split()) for word in next(reader, [])]
            _check_header(str(path), header, required, optional)
            rows, lines = [], []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(f"{path}, line {reader.line_num}: {len(row)} values for {len(header)} columns")
                rows.append(row)
                lines.append(reader.line_num)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is not a CSV file in UTF-8 ({error})") from None
    if not rows:
        raise InputError(f"{path}: is empty: it needs at least one row below the header")
    columns = {name: [row[place].strip() for row in rows] for place, name in enumerate(header)}
    return Table(str(path), lines, columns)


def _check_header(file: str, header: list[str], required: Sequence[str], optional: Sequence[str] | None) -> None:
    if not header:
        raise InputError(f"{file}: is empty: its first line names the columns, such as {','.join(required)}")
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{file}, line 1: column {name} appears twice")
        if optional is not None and name not in (*required, *optional):
            close = difflib.get_close_matches(name, (*required, *optional), n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise InputError(f"{file}, line 1: unknown column {name!r}{hint}: allowed are {','.join((*required, *optional))}")
    for name in required:
        if name not in header:
            raise InputError(f"{file}, line 1: column {name} is missing: found {','.join(header)}")


def numbers(
    table: Table, column: str, low: float = -math.inf, high: float = math.inf, blank: float | None = None
) -> NDArray[np.float64]:
    """A column as (rows,) finite numbers within [low, high]; an empty cell is `blank`, or a fault where that is None."""
    cells = table.columns[column]
    if blank is not None:
        cells = [cell or str(blank) for cell in cells]
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        values = np.array([_number(cell) for cell in cells])
    given = np.array([bool(cell) for cell in table.columns[column]])
    bad = ~(np.isfinite(values) & (values >= low) & (values <= high)) & (given | (blank is None))
    if bad.any():
        limits = (f" from {low:g}" if low > -math.inf else "") + (f" to {high:g}" if high < math.inf else "")
        table.fault(int(bad.argmax()), column, f"must be a finite number{limits}")
    return values


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def identifiers(table: Table, column: str = "id") -> tuple[str, ...]:
    """A column as (rows,) words, none of them empty."""
    cells = table.columns[column]
    if "" in cells:
        table.fault(cells.index(""), column, "must not be empty")
    return tuple(cells)


def unique(table: Table, column: str = "id") -> tuple[str, ...]:
    """A column as (rows,) words, none of them empty, no two the same."""
    first: dict[str, int] = {}
    for row, word in enumerate(identifiers(table, column)):
        if first.setdefault(word, row) != row:
            table.fault(row, column, f"must be unique, but line {table.lines[first[word]]} has it too")
    return tuple(first)


def truths(table: Table, column: str) -> NDArray[np.bool_]:
    """A column as (rows,) truth values: true or false, yes or no, 1 or 0."""
    meaning = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    values = [meaning.get(cell.lower()) for cell in table.columns[column]]
    if None in values:
        table.fault(values.index(None), column, "must be true or false (or yes, no, 1, 0)")
    return np.array(values, dtype=np.bool_)
