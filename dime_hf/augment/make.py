"""Makes the sound and the words of new utterances from those of their parents."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import soundfile
from datasets.fingerprint import Hasher
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.augment.describe import Family
from dime_hf.augment.operations import Utterance
from dime_hf.columns import AUDIO, DURATION, ID, SAMPLING_RATE, TEXT
from dime_hf.errors import AudioError, PlanError, did_you_mean

ENCODINGS = {"float": "wav", "pcm16": "wav", "flac": "flac"}  # to the end of a file's name
DECODED = 256 * 2**20  # bytes of decoded parents that a process keeps


def of_sound(features: datasets.Features) -> dict[str, Any]:
    """Those of `features` that only the finished sound can tell."""
    return {name: features[name] for name in (AUDIO, TEXT, DURATION) if name in features}


class Recent:
    """The utterances that were used last, up to so many bytes of sound; a copy in another process begins empty."""

    def __init__(self, limit: int = DECODED):
        self.limit, self.size = limit, 0
        self.kept: collections.OrderedDict[int, Utterance] = collections.OrderedDict()

    def __reduce__(self) -> tuple[type[Recent], tuple[int]]:
        return Recent, (self.limit,)

    def get(self, row: int) -> Utterance | None:
        if row in self.kept:
            self.kept.move_to_end(row)
        return self.kept.get(row)

    def put(self, row: int, utterance: Utterance) -> None:
        self.kept[row] = utterance
        self.size += utterance.samples.nbytes
        while self.size > self.limit:
            self.size -= self.kept.popitem(last=False)[1].samples.nbytes


@dataclasses.dataclass(frozen=True, eq=False)
class Maker:
    """Makes the columns of sound of new rows, by their places in the plan.

    ids (R,): of the new rows. sources: the columns id, audio and text of the training set.
    """

    ids: Sequence[str]
    family: Family
    sources: datasets.Dataset
    encoding: str
    fingerprint: str
    columns: tuple[str, ...]
    recent: Recent = dataclasses.field(default_factory=Recent, repr=False)

    @classmethod
    def of(cls, train: datasets.Dataset, rows: datasets.Dataset, family: Family, encoding: str) -> Maker:
        if encoding not in ENCODINGS:
            raise PlanError(f"`encoding` is {encoding!r}.{did_you_mean(encoding, ENCODINGS)}")
        used = {operation.name: operation for operation in family.operations}
        fingerprint = Hasher.hash([train._fingerprint, rows._fingerprint, encoding, sorted(used), [*used.values()]])
        names = [name for name in (ID, AUDIO, TEXT) if name in train.column_names]
        sources = train.select_columns(names).with_format(None)
        return cls(rows[ID][:], family, sources, encoding, fingerprint, tuple(of_sound(train.features)))

    def __call__(self, batch: pa.Table) -> pa.Table:
        made = list(self.utterances(batch["place"].to_pylist()))
        columns = {
            AUDIO: encoded([one.samples for one in made], self.encoding),
            TEXT: pa.array([one.text for one in made], pa.string()),
            DURATION: pa.array([seconds(one) for one in made], pa.float32()),
        }
        return pa.table({name: columns[name] for name in self.columns})

    def make(self, places: Sequence[int]) -> list[dict[str, Any]]:
        """Make the columns of sound of some rows."""
        cells = ((made, encode(made.samples, self.encoding)) for made in self.utterances(places))
        return [
            {AUDIO: {"bytes": content, "path": None}, TEXT: made.text, DURATION: seconds(made)}
            for made, content in cells
        ]

    def utterances(self, places: Sequence[int]) -> Iterator[Utterance]:
        """Make some rows as their operations leave them."""
        family = self.family
        parents = self._parents({int(row): place for place in places for row in family.of(place)})
        for place in places:
            of_row = [parents[row] for row in family.of(place)]
            yield family.operations[place].apply(of_row, family.parameters[place])

    def _parents(self, needed_by: Mapping[int, int]) -> dict[int, Utterance]:
        """Read those parents, by row of the training set, that are not decoded yet; all others are at hand."""
        parents = {row: known for row in needed_by if (known := self.recent.get(row)) is not None}
        missing = [row for row in needed_by if row not in parents]
        if not missing:
            return parents
        sources = self.sources[missing]  # one query: a query costs as much as decoding a second of sound
        for number, row in enumerate(missing):
            with self.naming(needed_by[row], sources[ID][number]):
                text = sources[TEXT][number] if TEXT in sources else None
                parents[row] = Utterance(audio.read(sources[AUDIO][number]), text)
            self.recent.put(row, parents[row])
        return parents

    @contextlib.contextmanager
    def naming(self, place: int, parent: str) -> Iterator[None]:
        """Say in an `AudioError` which parent of which row could not be read."""
        try:
            yield
        except AudioError as error:
            raise AudioError(f"utterance {parent!r}, of which {self.ids[place]!r} is made: {error}") from error


def seconds(utterance: Utterance) -> float:
    """How long an utterance lasts, as precisely as its column tells."""
    return float(np.float32(len(utterance.samples) / SAMPLING_RATE))


def encoded(clips: Sequence[NDArray[np.float32]], encoding: str) -> pa.StructArray:
    """Return clips as the cells of a column of audio; those of "float" are laid out in place, copied once."""
    if encoding == "float":
        contents = _float_wavs(clips)
    else:
        contents = pa.array([encode(samples, encoding) for samples in clips], pa.binary())
    return pa.StructArray.from_arrays([contents, pa.nulls(len(clips), pa.string())], ["bytes", "path"])


def _float_wavs(clips: Sequence[NDArray[np.float32]]) -> pa.BinaryArray:
    headers = [np.frombuffer(audio.float_wav_header(samples.nbytes), np.uint8) for samples in clips]
    parts = [part for header, samples in zip(headers, clips, strict=True) for part in (header, samples.view(np.uint8))]
    ends = np.cumsum([0, *(header.size + samples.nbytes for header, samples in zip(headers, clips, strict=True))])
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(np.concatenate(parts))]
    return pa.Array.from_buffers(pa.binary(), len(clips), buffers)


def encode(samples: NDArray[np.float32], encoding: str) -> bytes:
    """Return samples (T,) as the bytes of a sound file; those of "float" are the samples themselves."""
    if encoding == "float":
        return audio.encode_float_wav(samples)
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLING_RATE, format=ENCODINGS[encoding].upper(), subtype="PCM_16")
    return buffer.getvalue()
