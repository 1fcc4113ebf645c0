"""CREMA-D: `AudioWAV/`, and the votes on every clip in three modalities, `processedResults/tabulatedVotes.csv`.

Cao et al. 2014. 91 actors say 12 sentences; 4 to 12 anonymous annotators voted on each clip's voice, face, or both.
"""

from __future__ import annotations

import csv
import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from datasets import Value

from dime_hf import audio, columns
from dime_hf.columns import EXTERNAL
from dime_hf.corpora.builder import CorpusBuilder, CorpusConfig
from dime_hf.corpora.folder import Block, CorpusFolder, read_text, visible
from dime_hf.corpora.votes import Vote
from dime_hf.errors import CorpusError, LabelFileError, did_you_mean

CODES = {"A": "angry", "D": "disgust", "F": "fear", "H": "happy", "N": "neutral", "S": "sad"}
INTENDED = {"ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad"}
LEVELS = {"LO": "low", "MD": "medium", "HI": "high", "XX": None}
MODALITIES = {"voice": "1", "face": "2", "audiovisual": "3"}  # first digit of a row's name
SENTENCES = {
    "IEO": "It's eleven o'clock.",
    "TIE": "That is exactly what happened.",
    "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.",
    "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.",
    "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.",
    "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.",
    "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}
FIELDS = (columns.TEXT, columns.SPEAKER, columns.GENDER, "intended_emotion", "intended_level")
ANONYMOUS = tuple(Vote(None, EXTERNAL, (emotion,)) for emotion in CODES.values())  # only the choice was released
WAV_HEADER = 44  # bytes: a file with no more holds no sound


class CremaDFolder(CorpusFolder):
    """A checkout of the corpus's repository; a shard is an actor."""

    corpus = "crema_d"
    about = "CREMA-D with the human votes of one modality and a soft label."
    homepage = "https://github.com/CheyneyComputerScience/CREMA-D"
    licence = "ODbL 1.0, contents DbCL 1.0"
    inventory = tuple(columns.in_house_order(CODES.values()))
    extra_features: ClassVar[Mapping[str, Any]] = {
        "intended_emotion": Value("string"),
        "intended_level": Value("string"),
    }
    marker = "processedResults/tabulatedVotes.csv"

    def __init__(self, data_dir: str | os.PathLike[str], modality: str = "voice"):
        super().__init__(data_dir)
        self.votes_file = f"{self.root}/{self.marker}"
        self.demographics_file = f"{self.root}/VideoDemographics.csv"
        self.modality = modality

    def label_files(self) -> list[str]:
        return [path for path in (self.votes_file, self.demographics_file) if os.path.isfile(path)]

    def audio_folders(self) -> list[str]:
        return [folder for folder in [f"{self.root}/AudioWAV"] if os.path.isdir(folder)]

    def groups(self) -> dict[str, list[str]]:
        actors = sorted({row["fileName"].split("_")[0] for _, row in self._rows()})
        if not actors:
            raise CorpusError(f"{self.votes_file}: the corpus is empty, no clip has {self.modality} votes")
        return {actor: [actor] for actor in actors}

    def splits(self) -> dict[str, list[str]]:
        return {"train": list(self.groups())}

    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        actors, genders = set(shards), self._genders()
        clips = [
            self._clip(number, row, genders) for number, row in self._rows() if row["fileName"].split("_")[0] in actors
        ]
        if clips:
            yield Block.join(clips)

    def audio_state(self) -> list[tuple[str, int]]:
        """How large recordings are: a pointer of git LFS is replaced in its place."""
        recordings = [path for folder in self.audio_folders() for path in visible(folder, ".wav")]
        return [(path.removeprefix(self.root), os.path.getsize(path)) for path in recordings]

    def missing(self, recordings: Collection[str]) -> dict[str, str]:
        absent = super().missing(recordings)
        silent = {path: _why_silent(path) for path in recordings if path not in absent}
        return absent | {path: reason for path, reason in silent.items() if reason}

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Line number and cells of every clip of the modality."""
        lines = csv.reader(read_text(self.votes_file).splitlines())
        header = next(lines, [])
        missing = [name for name in (*CODES, "fileName", "emoVote") if name not in header]
        if missing:
            raise LabelFileError(self.votes_file, 1, ",".join(header), f"a header with the columns {missing}")
        for cells in lines:
            if len(cells) != len(header):
                raise LabelFileError(self.votes_file, lines.line_num, ",".join(cells), f"{len(header)} cells")
            if cells[0].startswith(MODALITIES[self.modality]):
                yield lines.line_num, dict(zip(header, cells, strict=True))

    def _clip(self, number: int, row: dict[str, str], genders: Mapping[str, str]) -> Block:
        clip = row["fileName"]
        try:
            actor, sentence, intended, level = clip.split("_")
            fields = (SENTENCES[sentence], actor, genders.get(actor), INTENDED[intended], LEVELS[level])
            counts = [int(row[code]) for code in CODES]
        except (ValueError, KeyError) as error:
            expected = "a clip 'actor_sentence_emotion_level' and whole counts"
            raise LabelFileError(self.votes_file, number, f"{clip}: {error}", expected) from error
        votes = tuple(vote for vote, count in zip(ANONYMOUS, counts, strict=True) for _ in range(count))
        official = CODES.get(row["emoVote"])  # a tie is written as "A:D"
        values = {name: [value] for name, value in zip(FIELDS, fields, strict=True)}
        return Block([clip], [f"{self.root}/AudioWAV/{clip}.wav"], [votes], [official], values)

    def _genders(self) -> dict[str, str]:
        if not os.path.isfile(self.demographics_file):
            return {}
        rows = csv.DictReader(read_text(self.demographics_file).splitlines())
        return {row["ActorID"]: row["Sex"].lower() for row in rows}


def _why_silent(recording: str) -> str | None:
    """Say why a file holds no sound, or None when it does."""
    if os.path.getsize(recording) <= WAV_HEADER:
        return "the file holds no sound"
    return "the file is a git-LFS pointer: run `git lfs pull`" if audio.is_lfs_pointer(recording) else None


@dataclasses.dataclass
class CremaDConfig(CorpusConfig):
    """Modality of the votes, and rows, of CREMA-D."""

    label_set: Any = CremaDFolder.inventory
    modality: str = "voice"

    folder_class = CremaDFolder
    folder_arguments = ("modality",)

    def check(self) -> None:
        super().check()
        if self.modality not in MODALITIES:
            raise CorpusError(f"`modality` is {self.modality!r}.{did_you_mean(str(self.modality), MODALITIES)}")


class CremaD(CorpusBuilder):
    """`load_dataset("crema_d", data_dir=...)`: split `train`, or a speaker-independent fold."""

    BUILDER_CONFIG_CLASS = CremaDConfig
    BUILDER_CONFIGS = [
        CremaDConfig(name=modality, modality=modality, description=f"Votes on the {modality}.")
        for modality in MODALITIES
    ]
    DEFAULT_CONFIG_NAME = "voice"
