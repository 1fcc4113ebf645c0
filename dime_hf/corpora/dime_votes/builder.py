"""Bring your own votes: `load_dataset("dime_votes", data_files="votes.csv", metadata="clips.csv", audio_dir="wav")`.

CSV, TSV, Parquet or JSONL, a row a vote (`id`, `annotator`, `label`) or a row an utterance with counts by class.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets.data_files import DataFilesDict, sanitize_patterns
from datasets.features.features import generate_from_arrow_type
from numpy.typing import NDArray

from dime_hf.columns import AUDIO, HARD_LABEL, ID, SPEAKER
from dime_hf.corpora.builder import CorpusBuilder, CorpusConfig
from dime_hf.corpora.dime_votes.ballots import Ballots, collect
from dime_hf.corpora.dime_votes.files import SUFFIXES, Sheet
from dime_hf.corpora.dime_votes.sheets import ANNOTATOR, KNOWN, OF_UTTERANCES, OF_VOTES, SPLIT, TEXTS, Rules
from dime_hf.corpora.folder import Block, CorpusFolder
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy
from dime_hf.corpora.votes import CastVotes
from dime_hf.distribution import UNDECIDED
from dime_hf.errors import CorpusError, did_you_mean

logger = logging.getLogger(__name__)

TRAIN, UNASSIGNED = "train", "unassigned"
BLOCK = 4096  # utterances in a table, and in a shard
UNNAMED = "no file: "  # before the id of an utterance whose recording is named nowhere
A_SOUND_FILE = r"(?i)\.(wav|flac|mp3|ogg|opus|m4a)$"


class DimeVotesFolder(CorpusFolder):
    """Files of votes and of metadata; a shard is `rows:<split>:<first>:<end>` of a split, or `speaker:<speaker>`."""

    corpus = "dime_votes"
    about = "Human votes brought by the user, with a soft label."
    homepage = ""
    licence = ""
    inventory = ()  # what the files name: see `tables`

    def __init__(
        self,
        data_files: Mapping[str, Sequence[str]],
        metadata: Sequence[str],
        names: Mapping[str, str | None],
        rules: Rules,
    ):
        self.root = ""
        self._listed, self._present = set(), set()
        self.data_files, self.metadata, self.names, self.rules = data_files, metadata, names, rules

    @functools.cached_property
    def tables(self) -> Ballots:
        """All that the files hold."""
        of_metadata = {name: written for name, written in self.names.items() if name not in OF_VOTES}
        metadata = [Sheet.read(path, of_metadata, (ID, *TEXTS)) for path in self.metadata]
        texts = (ID, *OF_VOTES, *TEXTS)
        unnamed = [TRAIN] if list(self.data_files) == [TRAIN] else []  # what files without a split are called
        sheets = [
            _in_split(Sheet.read(path, self.names, texts), split if split not in unnamed else None)
            for split, paths in self.data_files.items()
            for path in paths
        ]
        self._check_names([*sheets, *metadata])
        ballots = collect(sheets, metadata, self.rules)
        if not len(ballots.utterances):
            raise CorpusError(f"{', '.join(sheet.path for sheet in sheets)}: no utterance is in the files")
        return dataclasses.replace(ballots, utterances=_with_audio(ballots.utterances, self.rules.audio_dir))

    @functools.cached_property
    def split_rows(self) -> dict[str, NDArray[np.int64]]:
        """Rows of every split, in the order of the files' splits."""
        utterances, votes = self.tables.utterances, self.tables.votes
        if SPLIT not in utterances.column_names:
            return {TRAIN: np.arange(len(utterances))}
        split = np.array(utterances[SPLIT].to_pylist(), dtype=object)
        voted = np.bincount(votes.row, minlength=votes.rows) > 0
        unknown = utterances[SPLIT].is_null().to_numpy()
        left_out = unknown & ~voted
        if left_out.any():
            logger.warning("%s utterances have neither a vote nor a split: they are left out", f"{left_out.sum():,}")
        split[unknown & voted] = UNASSIGNED
        order = dict.fromkeys([*(name for name in self.data_files if (split == name).any()), *split[~left_out]])
        return {name: np.flatnonzero(split == name) for name in order}

    def label_files(self) -> list[str]:
        return [*(path for paths in self.data_files.values() for path in paths), *self.metadata]

    def audio_folders(self) -> list[str]:
        paths = self.tables.utterances[AUDIO]
        named = paths.filter(pc.invert(pc.starts_with(paths, UNNAMED)))
        folders = pc.unique(pc.replace_substring_regex(named, "/[^/]*$", "")).to_pylist()
        return [folder for folder in folders if os.path.isdir(folder)]

    def groups(self) -> dict[str, list[str]]:
        utterances = self.tables.utterances
        speakers = utterances[SPEAKER] if SPEAKER in utterances.column_names else pa.nulls(len(utterances))
        if speakers.null_count:
            raise CorpusError(
                f"`fold` keeps speakers apart, but {speakers.null_count:,} of {len(utterances):,} utterances have "
                f"no {SPEAKER!r}: give that column in the votes or in `metadata`"
            )
        return {speaker: [f"speaker:{speaker}"] for speaker in pc.unique(speakers).to_pylist()}

    def splits(self) -> dict[str, list[str]]:
        return {
            split: [f"rows:{split}:{start}:{start + BLOCK}" for start in range(0, max(len(rows), 1), BLOCK)]
            for split, rows in self.split_rows.items()
        }

    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        rows = np.concatenate([self._rows(shard) for shard in shards])
        for start in range(0, len(rows), BLOCK):
            yield self._block(rows[start : start + BLOCK])

    def missing(self, recordings: Collection[str]) -> dict[str, str]:
        unnamed = [path for path in recordings if path.startswith(UNNAMED)]
        absent = super().missing([path for path in recordings if not path.startswith(UNNAMED)])
        return absent | dict.fromkeys(unnamed, "neither a column `audio` nor `audio_dir` names one")

    def _rows(self, shard: str) -> NDArray[np.int64]:
        kind, _, which = shard.partition(":")
        if kind == SPEAKER:
            return np.flatnonzero(pc.equal(self.tables.utterances[SPEAKER], which).to_numpy())
        split, start, end = which.split(":")
        return self.split_rows[split][int(start) : int(end)]

    def _block(self, rows: NDArray[np.int64]) -> Block:
        table, votes = self.tables.utterances.take(pa.array(rows)), self.tables.votes_of(rows)
        fields = {name: table[name].to_pylist() for name in table.column_names}
        id, audio = fields.pop(ID), fields.pop(AUDIO)
        fields.pop(SPLIT, None)
        official = fields.pop(HARD_LABEL) if HARD_LABEL in fields else _pluralities(votes)
        return Block(id, audio, votes, official, fields)

    def _check_names(self, sheets: Sequence[Sheet]) -> None:
        """Raise `CorpusError` for a column of `column_names` that no file has."""
        found = {name for sheet in sheets for name in sheet.names}
        for name, written in self.names.items():
            if written is not None and name not in found:
                raise CorpusError(
                    f"`column_names` says that {name!r} is called {written!r}, but no file has that column."
                    f"{did_you_mean(written, sorted(found))}"
                )


def _in_split(sheet: Sheet, split: str | None) -> Sheet:
    """The sheet with a column that names its split, if it has one."""
    if split is None:
        return sheet
    if SPLIT in sheet.names:
        raise CorpusError(f"{sheet.path}: has a column {SPLIT!r}, but is all of {split!r} by `data_files`")
    return Sheet(sheet.path, sheet.table.append_column(SPLIT, pa.repeat(split, len(sheet.table))))


def _with_audio(utterances: pa.Table, audio_dir: str | None) -> pa.Table:
    """The table with a recording's path in every row: as the files say, or `<id>.wav`, or `UNNAMED`."""
    ids = utterances[ID].combine_chunks()
    unnamed = pc.binary_join_element_wise(UNNAMED, ids, "")
    if AUDIO in utterances.column_names:
        place = utterances.column_names.index(AUDIO)
        return utterances.set_column(place, AUDIO, pc.coalesce(utterances[AUDIO].combine_chunks(), unnamed))
    if audio_dir is None:
        return utterances.append_column(AUDIO, unnamed)
    with_suffix = pc.match_substring_regex(ids, A_SOUND_FILE)
    files = pc.if_else(with_suffix, ids, pc.binary_join_element_wise(ids, ".wav", ""))
    return utterances.append_column(AUDIO, pc.binary_join_element_wise(audio_dir, files, "/"))


@functools.cache
def _all_labels(inventory: tuple[str, ...]) -> Tally:
    """Counts every label as itself."""
    return Tally.of(VotePolicy(), LabelSet.of(inventory, inventory), inventory)


def _pluralities(votes: CastVotes) -> list[str | None]:
    """Label of the unique plurality of the external votes on each utterance: official where no file says otherwise."""
    tally = _all_labels(votes.inventory)
    return [None if place == UNDECIDED else tally.classes[place] for place in tally.decide(tally.ticks(votes))]


@dataclasses.dataclass
class DimeVotesConfig(CorpusConfig):
    """The files of votes are `data_files`, or the one called `votes` in the folder `data_dir`.

    label_set: None for every label that the votes name.
    metadata: file, or files, of one row an utterance: `id` and other columns; or the one called `metadata` in
        `data_dir`.
    audio_dir: folder that relative paths of recordings start in (default: that of the file that names them), and that
        holds `<id>.wav` when no file has a column `audio`.
    classes: names of the columns of counts, or all labels that a vote may name.
    column_names: what the files call the columns of this package ({"label": "emotion"}); {"annotator": None} for
        votes whose annotators are not known.
    rename_labels: whether common spellings become house names ("Anger" is `angry`, see `ballots.ALIASES`), or a
        mapping that says which labels are called what.
    """

    metadata: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None
    audio_dir: str | os.PathLike[str] | None = None
    classes: Sequence[str] | None = None
    column_names: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    rename_labels: bool | Mapping[str, str] = True

    folder_class = DimeVotesFolder

    def check(self) -> None:
        super().check()
        if self.data_files is None and self.data_dir is None:
            raise CorpusError('`data_files` is needed: load_dataset("dime_votes", data_files="votes.csv")')
        if isinstance(self.classes, str):
            raise CorpusError(f"`classes` is the string {self.classes!r}: give a list of names")
        for name in self.column_names:
            if name not in KNOWN:
                raise CorpusError(f"`column_names` has the key {name!r}.{did_you_mean(name, KNOWN)}")
        if self.audio_dir is not None and not os.path.isdir(folder := absolute(self.audio_dir, self.data_dir)):
            raise CorpusError(f"`audio_dir`: {folder} is not a folder")
        written = [name for name in self.column_names.values() if name is not None]
        if repeated := [name for name in written if written.count(name) > 1]:
            raise CorpusError(f"`column_names` uses the column {repeated[0]!r} twice")

    def inventory(self) -> tuple[str, ...]:
        return self._folder.tables.votes.inventory

    def extra_features(self) -> Mapping[str, Any]:
        schema = self._folder.tables.utterances.schema
        return {
            field.name: generate_from_arrow_type(field.type) for field in schema if field.name not in OF_UTTERANCES
        }

    def folder(self) -> DimeVotesFolder:
        return self._folder

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        self.check()
        folder = self._folder
        keyed = dict(config_kwargs) | {
            "data_dir": None,
            "data_files": dict(folder.data_files),
            "metadata": folder.metadata,
            "audio_dir": folder.rules.audio_dir,
            "_stamp": folder.stamp(labels_only=self.labels_only),
        }
        return datasets.BuilderConfig.create_config_id(self, keyed, custom_features)

    @functools.cached_property
    def _folder(self) -> DimeVotesFolder:
        rules = Rules(
            classes=None if self.classes is None else tuple(self.classes),
            rename=self.rename_labels,
            anonymous=self.column_names.get(ANNOTATOR, ANNOTATOR) is None,
            audio_dir=None if self.audio_dir is None else absolute(self.audio_dir, self.data_dir),
        )
        return DimeVotesFolder(self._vote_files(), self._metadata_files(), self.column_names, rules)

    def _vote_files(self) -> dict[str, list[str]]:
        if self.data_files is not None:
            return {split: list(paths) for split, paths in self.data_files.items()}
        if found := self._called("votes"):
            return {TRAIN: found}
        raise CorpusError(f"`data_dir`: {self.data_dir} has no file called votes{', votes'.join(SUFFIXES)}")

    def _metadata_files(self) -> list[str]:
        if self.metadata is None:
            return [] if self.data_files is not None else self._called("metadata")
        several = [self.metadata] if isinstance(self.metadata, (str, os.PathLike)) else self.metadata
        paths = [absolute(path, self.data_dir) for path in several]
        for path in paths:
            if not os.path.isfile(path):
                raise CorpusError(f"`metadata`: {path} is no file")
        return paths

    def _called(self, name: str) -> list[str]:
        """The file of that name in `data_dir`, if there is one."""
        paths = [absolute(name + suffix, self.data_dir) for suffix in SUFFIXES]
        found = [path for path in paths if os.path.isfile(path)]
        if len(found) > 1:
            raise CorpusError(f"`data_dir` has {' and '.join(found)}: say which, by `data_files` and `metadata`")
        return found


def absolute(path: str | os.PathLike[str], folder: str | None) -> str:
    """Absolute path, with forward slashes, of one that starts in `folder`, or else in the working directory."""
    parts = [os.path.expanduser(part) for part in (folder or "", path)]
    return Path(os.path.abspath(os.path.join(*parts))).as_posix()


class DimeVotes(CorpusBuilder):
    """`load_dataset("dime_votes", data_files=...)`: the splits of `data_files`, of a column `split`, or `train`."""

    BUILDER_CONFIG_CLASS = DimeVotesConfig
    BUILDER_CONFIGS = [DimeVotesConfig(name="default", description="Votes that the user brings.")]
    DEFAULT_CONFIG_NAME = "default"

    def __init__(self, *args: Any, data_files: Any = None, data_dir: str | None = None, **kwargs: Any):
        if data_files is not None and not isinstance(data_files, DataFilesDict):
            base_path = absolute("", data_dir)
            data_files = DataFilesDict.from_patterns(sanitize_patterns(_as_text(data_files)), base_path=base_path)
        super().__init__(*args, data_files=data_files, data_dir=data_dir, **kwargs)


def _as_text(files: Any) -> Any:
    """Paths as the strings that `datasets` takes."""
    if isinstance(files, Mapping):
        return {split: _as_text(paths) for split, paths in files.items()}
    return os.fspath(files) if isinstance(files, (str, os.PathLike)) else [os.fspath(path) for path in files]
