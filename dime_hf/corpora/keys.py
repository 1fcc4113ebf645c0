"""What utterances may share: a group, a recording by its content, a line by its words.

Of `audio` the content counts, not the file's name; of `text` the words, where there are at least four: not their case,
punctuation, or tags such as [LAUGHTER].
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from dime_hf.audio import content_hash
from dime_hf.columns import AUDIO, DIALOG, ID, SPEAKER, TEXT
from dime_hf.corpora.splits import known
from dime_hf.errors import AudioError, ColumnError

KINDS = (ID, SPEAKER, DIALOG, AUDIO, TEXT)
MIN_WORDS = 4
SAMPLE = 4096  # bytes that are compared before whole files are


@dataclasses.dataclass(frozen=True)
class Keys:
    """What utterances may share of one kind: the i-th has `values[codes[i]]`, or nothing where its code is -1."""

    codes: NDArray[np.intp]
    values: list[str]

    @classmethod
    def encode(cls, column: pa.Array) -> Keys:
        """Number the different values of a column."""
        encoded = column.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy().astype(np.intp)
        return cls(codes, encoded.dictionary.to_pylist())

    def shared(
        self, ids: NDArray[Any], first: NDArray[np.intp], second: NDArray[np.intp]
    ) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        """The values that rows `first` and rows `second` both have, sorted, with their ids on either side."""
        common = np.intersect1d(self.codes[first], self.codes[second])
        common = common[common >= 0]
        pairs = zip(self._ids(ids, first, common), self._ids(ids, second, common), strict=True)
        return dict(sorted(zip((self.values[code] for code in common), pairs, strict=True)))

    def _ids(self, ids: NDArray[Any], rows: NDArray[np.intp], wanted: NDArray[np.intp]) -> list[tuple[str, ...]]:
        rows = rows[np.argsort(self.codes[rows], kind="stable")]
        starts, ends = (np.searchsorted(self.codes[rows], wanted, side) for side in ("left", "right"))
        return [tuple(ids[rows[start:end]]) for start, end in zip(starts, ends, strict=True)]


def read_keys(parts: Sequence[datasets.Dataset], kinds: Sequence[str]) -> tuple[NDArray[Any], dict[str, Keys]]:
    """Read the ids of the utterances of all `parts`, one after the other, and what they may share."""
    names = list(dict.fromkeys([ID, *(kind for kind in kinds if kind != AUDIO)]))
    tables = [part.select_columns(names).with_format("arrow")[:] for part in parts]
    values = {name: _strings([table[name] for table in tables]) for name in names}
    keys = {kind: Keys.encode(_comparable(kind, values, parts)) for kind in kinds}
    return values[ID].to_numpy(zero_copy_only=False), keys


def _strings(parts: Sequence[pa.ChunkedArray]) -> pa.Array:
    return pa.concat_arrays([part.combine_chunks().cast(pa.string()) for part in parts])


def _comparable(kind: str, values: Mapping[str, pa.Array], parts: Sequence[datasets.Dataset]) -> pa.Array:
    if kind == AUDIO:
        return _recordings(parts)
    return _lines(values[TEXT]) if kind == TEXT else known(values[kind])


def _lines(texts: pa.Array) -> pa.Array:
    """The words of every line, null where there are too few to tell lines apart.

    >>> _lines(pa.array(["[LAUGHTER] Don't you know?", "dont  you know, so what", "Yes."])).to_pylist()
    [None, 'dont you know so what', None]
    """
    words = pc.utf8_lower(pc.utf8_normalize(texts, "NFKC"))
    for pattern, replacement in ((r"\[[^\]]*\]", " "), (r"['\x{2019}]", ""), (r"[^\pL\pM\pN]+", " ")):
        words = pc.replace_substring_regex(words, pattern, replacement)
    words = pc.utf8_trim_whitespace(words)
    enough = pc.greater_equal(pc.count_substring(words, " "), MIN_WORDS - 1)
    return pc.if_else(enough, words, pa.scalar(None, pa.string()))


def recurring(codes: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which rows have a code that another row has too."""
    counts = np.bincount(codes[codes >= 0], minlength=1)
    return (codes >= 0) & (counts[codes] > 1)


def _recordings(parts: Sequence[datasets.Dataset]) -> pa.Array:
    """A key of every recording, equal for equal content; read as far as it takes to tell them apart."""
    rows = np.arange(sum(map(len, parts)))
    keys = np.array([_size(cell) for cell in _cells(parts, rows)], dtype=object)
    for closer in (_middle, content_hash):
        rows = np.flatnonzero(recurring(Keys.encode(pa.array(keys, pa.string())).codes))
        keys[rows] = [closer(cell) for cell in _cells(parts, rows)]
    return pa.array(keys, pa.string())


def _cells(parts: Sequence[datasets.Dataset], rows: NDArray[np.intp]) -> Iterator[dict[str, Any]]:
    """The audio cells of some rows, with bytes as buffers that nothing has copied yet."""
    start = 0
    for part in parts:
        own = rows[(rows >= start) & (rows < start + len(part))] - start
        start += len(part)
        for batch in part.select_columns([AUDIO]).select(own).with_format("arrow").iter(batch_size=256):
            cells = batch[AUDIO].combine_chunks()
            if not pa.types.is_struct(cells.type):
                raise ColumnError(
                    f"`{AUDIO}` holds {cells.type}, not recordings: "
                    f"use `dataset.cast_column({AUDIO!r}, datasets.Audio(decode=False))`"
                )
            contents, paths = (pc.struct_field(cells, name) for name in ("bytes", "path"))
            for content, path in zip(contents, paths.to_pylist(), strict=True):
                yield {"bytes": content.as_buffer(), "path": path}


def _size(cell: Mapping[str, Any]) -> str | None:
    """Size of a recording in bytes, null where there is none."""
    content, path = cell["bytes"], cell["path"]
    if content is None and path is None:
        return None
    with _named_errors(path):
        size = os.stat(path).st_size if content is None else content.size
    if not size:
        raise AudioError(f"{path or 'audio given as bytes'}: is empty")
    return str(size)


def _middle(cell: Mapping[str, Any]) -> str:
    """Size of a recording, and a hash of some bytes in its middle."""
    content, path = cell["bytes"], cell["path"]
    if content is not None:
        size, middle = content.size, content[content.size // 2 :][:SAMPLE]
    else:
        with _named_errors(path), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(size // 2)
            middle = file.read(SAMPLE)
    return f"{size}:{xxhash.xxh3_128_hexdigest(middle)}"


@contextlib.contextmanager
def _named_errors(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error


def as_tuple(names: str | Sequence[str]) -> tuple[str, ...]:
    """One name, or several, as several."""
    return (names,) if isinstance(names, str) else tuple(names)
