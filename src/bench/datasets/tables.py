"""How every data set reads a CSV: strictly, as text, and with the file's own line numbers in all that is said of it.

Arrow parses the file. What it refuses is read once more by Python's csv module, which is slower, reads rows of any
length, and tells the line of each mistake.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench import bounded
from bench.datasets.base import several
from bench.spec import UserError
from bench.tell import say

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 1 << 20
"""Bytes of CSV parsed at a time: its numbers, as text, still fit the processor's cache."""
SPACES = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + "\u200b\ufeff"
"""What is stripped from both ends of a cell: spaces of all kinds, also those that have no width or allow no break."""
OWN = ("group", "fold", "weight", "time")
"""Columns of a person's own that a training table may have in every data set."""

_told: set[tuple[Path, str]] = set()


class Table:
    """Rows of a CSV file, each cell as text without spaces around it.

    ``names`` are the header's. ``name in table`` says whether a column was read, ``len`` counts rows.
    """

    def __init__(self, path: Path, names: Sequence[str], columns: dict[str, pa.ChunkedArray]) -> None:
        self.path, self.names, self._columns = path, tuple(names), columns
        self._texts: dict[str, np.ndarray] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __len__(self) -> int:
        return len(next(iter(self._columns.values())))

    def arrow(self, name: str) -> pa.ChunkedArray:
        """A column as Arrow's text."""
        return self._columns[name]

    def text(self, name: str) -> np.ndarray:
        """(N,) objects of str."""
        if name not in self._texts:
            self._texts[name] = np.array(self._columns[name].to_pylist(), object)
        return self._texts[name]

    def line(self, row: int | np.integer) -> int:
        """The file's line on which a row begins, blank lines counted. The first question reads the file again."""
        return self._lines[int(row)]

    @cached_property
    def _lines(self) -> list[int]:
        return [line for line, _ in rows(self.path)][1:]

    def refuse(self, problems: Sequence[str], what: str) -> None:
        """Raises a UserError where there are problems; ``what`` goes on after the file's name."""
        if problems:
            raise several(problems, f"{self.path} {what}")

    def blanks(self, *names: str) -> list[str]:
        """What to say of empty cells in these columns, in the order of the lines."""
        empty = sorted((row, name) for name in names for row in np.flatnonzero(self.text(name) == ""))
        return [f"line {self.line(row)} has no {name}" for row, name in empty]

    def repeats(self, name: str) -> list[str]:
        """What to say of values that were there before."""
        import pandas as pd

        values = self.text(name)
        again = np.flatnonzero(pd.Series(values).duplicated() & (values != ""))
        return [f"line {self.line(row)} has an {name} again ({values[row]})" for row in again]

    def integers(self, name: str) -> tuple[np.ndarray, list[str]]:
        """(N,) int64 of a column that is written in digits, and what to say of cells that are not (0 there)."""
        values, wrong = self._parsed(name, "int64", int)
        return values, [f"line {self.line(row)}, {name} is {self.text(name)[row]!r}" for row in wrong]

    def numbers(self, name: str, least: float = -np.inf) -> tuple[np.ndarray, list[str]]:
        """(N,) float64, and what to say of cells that are no finite numbers of at least ``least`` (NaN there)."""
        values, _ = self._parsed(name, "float64", float)
        with np.errstate(invalid="ignore"):
            wrong = np.flatnonzero(~(np.isfinite(values) & (values >= least)))
        values[wrong] = np.nan
        return values, [f"line {self.line(row)}, {name} is {self.text(name)[row]!r}" for row in wrong]

    def _parsed(self, name: str, dtype: str, number: Any) -> tuple[np.ndarray, list[int]]:
        """A column as numbers, and the rows that are none: 0, or NaN where the type has it."""
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            return pc.cast(self._columns[name], dtype).to_numpy().copy(), []
        except pa.ArrowInvalid:
            pass  # cell by cell: some are no numbers, or Arrow is too strict for them
        texts = self.text(name)
        values, wrong = np.zeros(len(texts), dtype), []
        for row, text in enumerate(texts):
            try:
                values[row] = number("" if "_" in text else text)  # Python's own digits may be parted by underscores
            except (ValueError, OverflowError):
                wrong.append(row)
        if dtype == "float64":
            values[wrong] = np.nan
        return values, wrong


def read(path: Path, needed: Sequence[str], optional: Sequence[str] = (), as_it_is: Sequence[str] = ()) -> Table:
    """The ``needed`` columns of a CSV, and those ``optional`` ones that it has; ``as_it_is`` are not stripped.

    Blank lines are left out, and spaces around cells and names, which is said once for a file. Raises UserError naming
    the file for anything that is no CSV in UTF-8 with a row below its header, for a column that is not there or there
    twice, and, naming the lines, for rows with more or fewer fields than the header.
    """
    names, lines_of_header = header(path)
    if absent := [name for name in needed if name not in names]:
        hint = (
            "; its columns must be parted by commas" if len(names) == 1 and any(c in names[0] for c in ";\t|") else ""
        )
        raise UserError(f"{path} lacks the column {', '.join(absent)}; it has {', '.join(names)}{hint}")
    selected = list(dict.fromkeys([*needed, *(name for name in optional if name in names)]))
    if twice := [name for name in selected if names.count(name) > 1]:
        raise UserError(
            f"{path} has the column {', '.join(twice)} twice; keep one of them, or give the other its own name"
        )
    columns = _parsed_by_arrow(path, names, lines_of_header, selected)
    if columns is None:
        columns = _parsed_row_by_row(path, names, selected)
    table = Table(
        path, names, {name: columns[name] if name in as_it_is else _stripped(columns[name]) for name in selected}
    )
    if not len(table):
        raise UserError(f"{path} has no rows below its header")
    _tell_of_spaces(table, {name: columns[name] for name in selected if name not in as_it_is})
    return table


def header(path: Path) -> tuple[list[str], int]:
    """The columns' names, and the number of lines down to the first row's."""
    with bounded.table(path).open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK" or start == b"\xd0\xcf\x11\xe0":
        raise UserError(f"{path} is a spreadsheet or an archive by its content; unpack it, or save it as CSV in UTF-8")
    for line, fields in rows(path):
        return [name.strip(SPACES) for name in fields], line + sum(name.count("\n") for name in fields)
    raise UserError(f"{path} is empty; expected a header and rows below it")


def head(path: Path, name: str, count: int) -> list[str]:
    """The first cells of a column, as they stand, without reading on; UserError where it is not there."""
    names, _ = header(path)
    if name not in names:
        raise UserError(f"{path} lacks the column {name}; it has {', '.join(names)}")
    place = names.index(name)
    cells = [fields[place] for _, fields in islice(rows(path), 1, count + 1) if len(fields) > place]
    if not cells:
        raise UserError(f"{path} has no rows below its header")
    return cells


def rows(path: Path, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of each row, the header first, without blank lines.

    Raises UserError where the text is not UTF-8, and with ``strict`` for quotes that don't close or close too early.
    """
    csv.field_size_limit(2**31 - 1)  # a recording may be one field, and Python's own limit is 131,072 characters
    columns = before = 0
    try:
        with bounded.table(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=strict)
            for fields in reader:
                if fields and (len(fields) > 1 or columns == 1 or fields[0].strip(SPACES)):
                    columns = columns or len(fields)
                    yield before + 1, fields
                before = reader.line_num
    except UnicodeDecodeError:
        raise UserError(f"{path}, line {_undecodable(path)}, is not UTF-8; save the file as CSV in UTF-8") from None
    except csv.Error as error:
        what = "a quote opens and does not close" if "end of data" in str(error) else str(error)
        raise UserError(f"{path}, line {before + 1}: {what}; write a quote that belongs to a cell twice") from None
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); a CSV in UTF-8 is expected") from error


def own_columns(table: Table) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns of ``OWN`` that a table has, and what is wrong in them.

    ``group`` is never empty; ``weight`` is a float32 of 0 or more; ``fold`` and ``time`` are left to the split that
    reads them, as they stand.
    """
    columns: dict[str, np.ndarray] = {}
    problems = table.blanks("group") if "group" in table else []
    for name in OWN:
        if name == "weight" and name in table:
            values, wrong = table.numbers(name, least=0)
            columns[name] = values.astype(np.float32)
            problems += [f"{sentence} and must be a number of 0 or more" for sentence in wrong]
        elif name in table:
            columns[name] = as_numbers(table.text(name))
    return columns, problems


def as_numbers(texts: np.ndarray) -> np.ndarray:
    """Texts as int64 where that loses nothing (007 stays text), else as they are."""
    try:
        numbers = np.array(texts, dtype=np.int64)
    except (ValueError, OverflowError):
        return texts
    return numbers if (numbers.astype(str).astype(object) == texts).all() else texts


def _parsed_by_arrow(
    path: Path, names: Sequence[str], skipped: int, selected: Sequence[str]
) -> dict[str, pa.ChunkedArray] | None:
    """The wanted columns; None for a file that Arrow does not take."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    numbers = {name: str(names.index(name)) for name in selected}  # Arrow's own names must differ from each other
    try:
        table = pa_csv.read_csv(
            path,
            read_options=pa_csv.ReadOptions(
                block_size=BLOCK, skip_rows=skipped, column_names=[str(i) for i in range(len(names))]
            ),
            convert_options=pa_csv.ConvertOptions(
                include_columns=list(numbers.values()), column_types=dict.fromkeys(numbers.values(), pa.string())
            ),
        )
    except (pa.ArrowInvalid, OSError):
        return None
    columns = {name: table.column(number) for name, number in numbers.items()}
    return columns if table.num_rows == 0 or _ends_as_read(path, names, columns) else None


def _ends_as_read(path: Path, names: Sequence[str], columns: dict[str, pa.ChunkedArray]) -> bool:
    """Whether the last line is the last row: a quote that doesn't close has swallowed all lines that follow it."""
    size, tail, reach = path.stat().st_size, b"", 1 << 13
    with path.open("rb") as file:
        while len(tail) < size and b"\n" not in tail.strip(b"\r\n"):
            tail_size = min(size, reach)
            file.seek(size - tail_size)
            tail, reach = file.read(tail_size), reach * 8
    last = tail.strip(b"\r\n").splitlines()[-1].decode("utf-8", errors="replace")
    fields = next(csv.reader([last]))
    if len(fields) != len(names):
        return False
    return all(column[-1].as_py() == fields[names.index(name)] for name, column in columns.items())


def _parsed_row_by_row(path: Path, names: Sequence[str], selected: Sequence[str]) -> dict[str, pa.ChunkedArray]:
    """The wanted columns; UserError naming the lines with more or fewer fields than the header."""
    import pyarrow as pa

    places = [names.index(name) for name in selected]
    pieces: list[list[pa.Array]] = [[] for _ in selected]
    gathered: list[list[str]] = [[] for _ in selected]
    problems, size, commas = [], 0, True

    def flush() -> None:
        for column, cells in zip(pieces, gathered, strict=True):
            column.append(pa.array(cells, pa.string()))
            cells.clear()

    for line, fields in islice(rows(path, strict=True), 1, None):
        if len(fields) != len(names):
            problems.append(f"line {line} has {len(fields)}")
            commas &= len(fields) > len(names) and not any(fields[len(names) :])
            continue
        for cells, place in zip(gathered, places, strict=True):
            cells.append(fields[place])
            size += len(fields[place])
        if size > BLOCK:
            flush()
            size = 0
    if problems:
        advice = "take the commas at their ends out" if commas else "a cell that holds a comma or a quote needs quotes"
        raise several(
            problems,
            f"{path} has {len(problems)} rows with more or fewer fields than the {len(names)} of its header; {advice}",
        )
    flush()
    return {name: pa.chunked_array(column) for name, column in zip(selected, pieces, strict=True)}


def _stripped(column: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow.compute as pc

    return pc.utf8_trim(column, SPACES)


def _tell_of_spaces(table: Table, before: dict[str, pa.ChunkedArray]) -> None:
    """Says once for a file in which columns spaces were left out."""
    import pyarrow.compute as pc

    changed = {name: pc.not_equal(column, table.arrow(name)) for name, column in before.items()}
    counts = {name: int(pc.sum(where).as_py() or 0) for name, where in changed.items()}
    columns = [name for name, count in counts.items() if count]
    key = (table.path.resolve(), ",".join(columns))
    if not columns or key in _told:
        return
    _told.add(key)
    first = min(changed[name].index(True).as_py() for name in columns)
    say(
        f"data      {table.path}: spaces around {sum(counts.values())} cells of {', '.join(columns)} are left out "
        f"(first: line {table.line(first)})"
    )


def _undecodable(path: Path) -> int:
    """The first line that is not UTF-8."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1
