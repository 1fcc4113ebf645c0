"""MSP-Podcast 1.6 to 2.0: `Labels/`, `Audios/`, `Partitions.txt`, `Speaker_ids.txt` and `Transcripts/`.

Lotfian and Busso 2019; Busso et al. 2025. Five or more workers a speaking turn name its primary emotion (eight, or
free text) and all secondary ones (sixteen), and rate activation, valence and dominance from 1 to 7. The official label
is the unique plurality of the primary emotions, all free text counting as one class.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pyarrow as pa
from datasets import Value

from dime_hf import columns
from dime_hf.corpora.builder import CorpusBuilder, CorpusConfig
from dime_hf.corpora.folder import Block, CorpusFolder, paused_collector, read_text, visible
from dime_hf.corpora.msp_podcast.cells import FILE
from dime_hf.corpora.msp_podcast.labels import (
    INVENTORY,
    OFFICIAL,
    RATINGS,
    SECONDARY,
    SPLIT,
    read_consensus,
    read_partitions,
    read_speakers,
    read_worker_votes,
)
from dime_hf.corpora.msp_podcast.utterances import Utterances
from dime_hf.corpora.policy import VotePolicy
from dime_hf.corpora.rows import Rows
from dime_hf.errors import CorpusError

ROWS_A_SHARD = 4_000
TEST3 = re.compile(r"MSP-PODCAST_test3_.*\.wav", re.IGNORECASE)
RELEASED = tuple(columns.RELEASED + name for name in RATINGS.values())
FIELDS = (columns.SPEAKER, columns.GENDER, columns.DIALOG, *RATINGS.values(), *RELEASED)

LABEL_FOLDER, AUDIO_FOLDER, TRANSCRIPT_FOLDER = "labels?", "audios?(_wav)?", "transcripts?"  # in any case
VOTE_FILES = (r"labels_detailed\.csv", r"labels_detailed\.json", r"labels\.txt")  # the first that is there is read
CONSENSUS_FILES = (r"labels_con[cs]ensus\.csv", r"labels_con[cs]ensus\.json")
PARTITION_FILE, SPEAKER_FILE = r"partitions?\.txt", r"speaker_ids?\.txt"


def find(folder: str, pattern: str) -> str | None:
    """The first entry of a folder whose name matches, in any case."""
    return next((path for path in visible(folder) if re.fullmatch(pattern, path.rpartition("/")[2], re.I)), None)


def find_nested(folder: str, pattern: str) -> str | None:
    """A folder of that name, or the one of the same name in it, as unpacking leaves them."""
    outer = find(folder, pattern)
    inner = outer and find(outer, pattern)
    return inner if inner and os.path.isdir(inner) else outer


def find_labels(root: str) -> str | None:
    """The folder with the label files: `Labels`, `Labels/Labels`, or the root itself."""
    if re.fullmatch(LABEL_FOLDER, root.rpartition("/")[2], re.I):
        return None  # the root is above
    for folder in (find_nested(root, LABEL_FOLDER), root):
        if folder and any(find(folder, pattern) for pattern in VOTE_FILES + CONSENSUS_FILES):
            return folder
    return None


class MspPodcastFolder(CorpusFolder):
    """A release of the corpus; a shard is `<split>:<n>`, some thousand utterances in the order of the label files."""

    corpus = "msp_podcast"
    about = "MSP-Podcast with every human vote and a soft label."
    homepage = "https://lab-msp.com/MSP/MSP-Podcast.html"
    licence = "MSP-Podcast licence of the MSP lab: on request, no redistribution"
    inventory = INVENTORY
    extra_features: ClassVar[Mapping[str, Any]] = {name: Value("float32") for name in RELEASED}
    marker = "Labels/labels_detailed.csv"

    def __init__(self, data_dir: str | os.PathLike[str], labels_only: bool = False):
        super().__init__(data_dir)
        self.labels_only = labels_only
        labels = find_labels(self.root) or self.root
        self.votes_file = self._first(labels, VOTE_FILES)
        self.consensus_file = self._first(labels, CONSENSUS_FILES)
        self.partitions_file, self.speakers_file = (
            find(self.root, pattern) or find(labels, pattern) for pattern in (PARTITION_FILE, SPEAKER_FILE)
        )
        self.audio = find_nested(self.root, AUDIO_FOLDER)
        self.transcripts = find_nested(self.root, TRANSCRIPT_FOLDER)

    @classmethod
    def is_root(cls, folder: Path) -> bool:
        return find_labels(folder.absolute().as_posix()) is not None

    def label_files(self) -> list[str]:
        """The label files, and the folder of the transcripts, whose files are too many to look at."""
        files = (self.votes_file, self.consensus_file, self.partitions_file, self.speakers_file, self.transcripts)
        return [path for path in files if path]

    def audio_folders(self) -> list[str]:
        return [self.audio] if self.audio else []

    def groups(self) -> dict[str, list[str]]:
        """The official sets."""
        return self.splits()

    def splits(self) -> dict[str, list[str]]:
        shards = {
            name: [f"{name}:{shard}" for shard in range(-(-len(rows) // ROWS_A_SHARD))]
            for name, rows in self.utterances.rows.items()
        }
        if not shards:
            raise CorpusError(f"{self.votes_file}: the corpus is empty, no file has votes")
        return shards

    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        for shard in shards:
            split, _, number = shard.partition(":")
            start = int(number) * ROWS_A_SHARD
            yield self._block(self.utterances.rows[split][start : start + ROWS_A_SHARD])

    def late_fields(self, block: Block) -> dict[str, list[Any]]:
        """The transcripts."""
        return {columns.TEXT: [self._transcript(id) for id in block.id]} if self.transcripts else {}

    @functools.cached_property
    def utterances(self) -> Utterances:
        if self.votes_file is None:
            wanted = "labels_detailed.csv, labels_detailed.json or labels.txt"
            raise CorpusError(f"{self.root}: nobody's votes, looked for {wanted} beside {self.consensus_file}")
        consensus = self.consensus_file or (self.votes_file if self.votes_file.endswith(".txt") else None)
        with paused_collector(), ThreadPoolExecutor() as pool:  # Arrow, which does most, lets others go on
            votes = pool.submit(read_worker_votes, self.votes_file)
            heads = pool.submit(read_consensus, consensus) if consensus else None
            speakers = pool.submit(read_speakers, self.speakers_file) if self.speakers_file else None
            return Utterances.of(
                votes.result(),
                heads.result() if heads else None,
                self._sets(),
                *(speakers.result() if speakers else (None, {})),
            )

    def _block(self, rows: range) -> Block:
        table = self.utterances.table.slice(rows.start, len(rows))
        audio = self.audio or f"{self.root}/Audios"
        return Block(
            id=table[columns.ID].to_pylist(),
            audio=[f"{audio}/{file}" for file in table[FILE].to_pylist()],
            votes=self.utterances.votes(rows),
            official=table[OFFICIAL].combine_chunks(),
            fields={name: table[name].combine_chunks() for name in FIELDS},
        )

    def _sets(self) -> pa.Table:
        """File and split of the official sets; the recordings of the third may be all that tells of it."""
        names = [] if self.labels_only or not self.audio else sorted(filter(TEST3.fullmatch, os.listdir(self.audio)))
        schema = pa.schema([(FILE, pa.string()), (SPLIT, pa.string())])
        third = pa.table([names, ["test3"] * len(names)], schema=schema)
        listed = [read_partitions(self.partitions_file)] if self.partitions_file else []
        return pa.concat_tables([third, *listed])

    def _transcript(self, id: str) -> str | None:
        try:
            return read_text(f"{self.transcripts}/{id}.txt").strip() or None
        except FileNotFoundError:
            return None

    @staticmethod
    def _first(folder: str, patterns: Sequence[str]) -> str | None:
        return next(filter(None, (find(folder, pattern) for pattern in patterns)), None)


PRIMARY = ("angry", "happy", "neutral", "sad", "surprise", "fear", "disgust", "contempt")


@dataclasses.dataclass
class MspPodcastConfig(CorpusConfig):
    """Label set and rows of MSP-Podcast."""

    folder_class = MspPodcastFolder
    folder_arguments = ("labels_only",)

    def check(self) -> None:
        super().check()
        if self.fold is not None:
            raise CorpusError(
                f"`fold` is {self.fold!r}, but MSP-Podcast has official partitions, which are its splits; for others: "
                'dime_hf.corpora.splits.folds(dataset, by="speaker", fold=...)'
            )


class MspPodcast(CorpusBuilder):
    """`load_dataset("msp_podcast", data_dir=...)`: the official partitions as splits."""

    BUILDER_CONFIG_CLASS = MspPodcastConfig
    BUILDER_CONFIGS = [
        MspPodcastConfig(name="4class", label_set=PRIMARY[:4], description="Four of the primary emotions."),
        MspPodcastConfig(name="8class", label_set=PRIMARY, description="The primary emotions."),
        MspPodcastConfig(name="9class", label_set=(*PRIMARY, "other"), description="Every primary answer."),
        MspPodcastConfig(
            name="16class",
            label_set=SECONDARY,
            vote_policy=VotePolicy(question="secondary"),
            description="The secondary emotions: all that a worker ticked.",
        ),
    ]
    DEFAULT_CONFIG_NAME = "4class"

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        """The official partitions that have a wanted row: nobody voted on Test3."""
        splits = super()._split_generators(dl_manager)
        return [split for split in splits if self._has_rows(split.gen_kwargs["shards"])] or splits[:1]

    def _has_rows(self, shards: list[str]) -> bool:
        rows = Rows(self.folder, self.tally, self.schema, self.config)
        return any(rows.wanted(block).any() for block in self.folder.read(shards))
