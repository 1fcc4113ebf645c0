"""A label file of MSP-Podcast as columns of texts, as they are written, in whichever form it comes.

A column holds its different texts once, so that each is parsed once, and every row knows its place in the file, so
that an error can name it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dime_hf.errors import LabelFileError

# columns, by the names that most releases give them
FILE, WORKER, DETAIL, MAJOR, SECOND = "FileName", "WorkerID", "EmoDetail", "EmoClass_Major", "EmoClass_Second"
CLASS, SPEAKER, GENDER, SET = "EmoClass", "SpkrID", "Gender", "Split_Set"
ACTIVATION, VALENCE, DOMINANCE = RATINGS = ("EmoAct", "EmoVal", "EmoDom")
ANSWER = "answer"  # the primary and secondary emotions of a vote, as one text
NAMES = (FILE, WORKER, DETAIL, MAJOR, SECOND, CLASS, *RATINGS, SPEAKER, GENDER, SET)
COLUMNS = {name.casefold(): name for name in NAMES} | {"workers": WORKER, "name": WORKER}

T = TypeVar("T")
Place = Callable[[int], tuple[int, str]]  # line number and text of a row; row -1 is the file's head


def column_key(name: str) -> str:
    return name.strip().casefold()


@dataclasses.dataclass(frozen=True)
class Cells:
    """A label file: its columns row by row, and where each row stands."""

    path: str
    columns: Mapping[str, pa.DictionaryArray | pa.StringArray]  # FILE alone may be plain text
    place: Place

    def parse(self, column: str, parse: Callable[[str], T], expected: str) -> tuple[list[T], NDArray[np.int32]]:
        """What every different text of a column means, and which of them each row holds.

        Raises `LabelFileError` for the first row whose text `parse` refuses with a `ValueError` or `KeyError`.
        """
        holds = self.columns[column].indices.to_numpy()
        meanings: list[Any] = []
        refused = []
        for number, text in enumerate(self.columns[column].dictionary.to_pylist()):
            try:
                meanings.append(parse(text))
            except (ValueError, KeyError):
                meanings.append(None)
                refused.append(number)
        if refused:
            self.refuse(int(np.isin(holds, refused).argmax()), expected)
        return meanings, holds

    def names(self, column: str, expected: str) -> tuple[pa.StringArray, NDArray[np.int32]]:
        """Like `parse`, for a column of names: each is one line of text, without the blanks around it."""
        cells = self.columns[column]
        if not isinstance(cells, pa.DictionaryArray):
            cells = cells.dictionary_encode()
        return self._checked(cells.dictionary, cells.indices.to_numpy(), expected), cells.indices.to_numpy()

    def each_name(self, column: str, expected: str) -> pa.StringArray:
        """The names in a column row by row."""
        cells = self.columns[column]
        if isinstance(cells, pa.DictionaryArray):
            names, holds = self.names(column, expected)
            return names.take(pa.array(holds))
        return self._checked(cells, np.arange(len(cells)), expected)

    def _checked(self, texts: pa.StringArray, holds: NDArray[Any], expected: str) -> pa.StringArray:
        """Names without the blanks around them; `LabelFileError` for the first row that holds none."""
        names = pc.utf8_trim_whitespace(texts)
        refused = pc.or_(pc.equal(names, ""), pc.match_substring(names, "\n")).to_numpy(zero_copy_only=False)
        if refused.any():
            self.refuse(int(refused[holds].argmax()), expected)
        return names

    def array(self, column: str, parse: Callable[[str], Any], expected: str, type: pa.DataType) -> pa.Array:
        """The meaning of every row of a column; all null where the file has no such column."""
        if column not in self.columns:
            return pa.nulls(len(self.columns[FILE]), type)
        meanings, holds = self.parse(column, parse, expected)
        return pa.array(meanings, type, from_pandas=True).take(pa.array(holds))

    def require(self, names: Sequence[str], alternative: str = "") -> None:
        """Raise `LabelFileError` unless the file has these columns."""
        if missing := [name for name in names if name not in self.columns]:
            self.refuse(-1, f"the columns {', '.join(names)}{alternative}, not without {', '.join(missing)}")

    def refuse(self, row: int, expected: str) -> NoReturn:
        raise LabelFileError(self.path, *self.place(row), expected)
