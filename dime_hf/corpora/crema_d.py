"""CREMA-D: `AudioWAV/`, and the votes on every clip in three modalities, `processedResults/tabulatedVotes.csv`.

Cao et al. 2014. 91 actors say 12 sentences; 4 to 12 annotators voted on each clip's voice, face, or both. The table
has their votes without their names; `finishedResponses.csv` has every response, and who gave it.
"""

from __future__ import annotations

import collections
import csv
import dataclasses
import functools
import math
import operator
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

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
RESPONSES = ("tabulated", "filtered", "all")
PRACTICE = ("7443", "7444")  # clip numbers
DISTRACTED = 10_000  # ms to the first click, after which the release does not count a response
TABLE = ("fileName", "numResponses", "emoVote", *CODES)
RESPONSE = ("localid", "clipName", "respEmo", "clipNum", "queryType", "questNum", "sessionNums")
FIRST_CLICK = ("ttr", "queryType", "questNum", "sessionNums")
DEMOGRAPHICS = ("Sex", "Age", "Race", "Ethnicity")
MAX_AGE = 120
GENDERS = {"Male": "male", "Female": "female"}
ROW_NAME = re.compile(r"[123]\d{5}", re.ASCII)  # modality and number of the clip
NUMBER = re.compile(r"\d{1,15}(\.\d*)?|\d(\.\d+)?e\+\d\d", re.ASCII)
WAV_HEADER = 44  # bytes: a file with no more holds no sound


class Clip(NamedTuple):
    """A row of the table of votes, as written."""

    line: int
    name: str
    total: str
    official: str  # several letters where tied: "A:D"
    counts: tuple[str, ...]


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
        "age": Value("int32"),
        "race": Value("string"),
        "ethnicity": Value("string"),
    }
    marker = "processedResults/tabulatedVotes.csv"

    def __init__(self, data_dir: str | os.PathLike[str], modality: str = "voice", responses: str = "tabulated"):
        super().__init__(data_dir)
        self.votes_file = f"{self.root}/{self.marker}"
        self.demographics_file = f"{self.root}/VideoDemographics.csv"
        self.responses_file = f"{self.root}/finishedResponses.csv"
        self.first_clicks_file = f"{self.root}/finishedEmoResponses.csv"
        self.modality, self.responses = modality, responses
        needed = {"filtered": (self.responses_file, self.first_clicks_file), "all": (self.responses_file,)}
        for path in needed.get(responses, ()):
            if not os.path.isfile(path):
                raise CorpusError(f"`responses={responses!r}` needs {path}, which is missing; 'tabulated' does not")

    def label_files(self) -> list[str]:
        files = (self.votes_file, self.demographics_file, self.responses_file, self.first_clicks_file)
        return [path for path in files if os.path.isfile(path)]

    def audio_folders(self) -> list[str]:
        return [folder for folder in [f"{self.root}/AudioWAV"] if os.path.isdir(folder)]

    def groups(self) -> dict[str, list[str]]:
        actors = sorted({_actor(clip) for clip in self._clips})
        if not actors:
            raise CorpusError(f"{self.votes_file}: the corpus is empty, no clip has {self.modality} votes")
        return {actor: [actor] for actor in actors}

    def splits(self) -> dict[str, list[str]]:
        return {"train": list(self.groups())}

    def read(self, shards: Sequence[str]) -> Iterator[Block]:
        actors, demographics = set(shards), self._demographics()
        blocks = [self._utterance(clip, demographics) for clip in self._clips if _actor(clip) in actors]
        if blocks:
            yield Block.join(blocks)

    def audio_state(self) -> list[tuple[str, int]]:
        """How large recordings are: a pointer of git LFS is replaced in its place."""
        recordings = [path for folder in self.audio_folders() for path in visible(folder, ".wav")]
        return [(path.removeprefix(self.root), os.path.getsize(path)) for path in recordings]

    def missing(self, recordings: Collection[str]) -> dict[str, str]:
        absent = super().missing(recordings)
        silent = {path: _why_silent(path) for path in recordings if path not in absent}
        return absent | {path: reason for path, reason in silent.items() if reason}

    @functools.cached_property
    def _clips(self) -> list[Clip]:
        """The table's rows of the modality; every row of it must be the only one of its clip and modality."""
        clips, rows = [], set()
        number_of: dict[str, str] = {}
        name_of: dict[str, str] = {}
        for line, row, (name, *cells) in read_table(self.votes_file, TABLE):
            number = row[1:]
            known = (number_of.setdefault(name, number), name_of.setdefault(number, name))
            if not ROW_NAME.fullmatch(row) or row in rows or known != (number, name):
                expected = "a row '<modality 1 to 3><number of the clip>' that is not there already"
                raise LabelFileError(self.votes_file, line, f"{row}: {name}", expected)
            rows.add(row)
            if row.startswith(MODALITIES[self.modality]):
                clips.append(Clip(line, name, cells[0], cells[1], tuple(cells[2:])))
        return clips

    def _utterance(self, clip: Clip, demographics: Mapping[str, Mapping[str, Any]]) -> Block:
        """A clip with its votes."""
        counts, expected = self._counts(clip), "a clip 'actor_sentence_emotion_level'"
        try:
            actor, sentence, intended, level = clip.name.split("_")
            fields = {
                columns.TEXT: SENTENCES[sentence],
                columns.SPEAKER: actor,
                "intended_emotion": INTENDED[intended],
                "intended_level": LEVELS[level],
            }
        except (ValueError, KeyError) as error:
            raise LabelFileError(self.votes_file, clip.line, clip.name, expected) from error
        fields |= demographics.get(actor, dict.fromkeys((columns.GENDER, "age", "race", "ethnicity")))
        votes = _anonymous(counts) if self.responses == "tabulated" else self._responses_to(clip, counts)
        recording = f"{self.root}/AudioWAV/{clip.name}.wav"
        columns_of_one = {name: [value] for name, value in fields.items()}
        return Block([clip.name], [recording], [votes], [CODES.get(clip.official)], columns_of_one)

    def _counts(self, clip: Clip) -> tuple[int, ...]:
        """Votes by letter, which must be as many as the row says, and decide for what it says."""
        if all(count.isascii() and count.isdigit() for count in clip.counts):
            counts = tuple(map(int, clip.counts))
            winners = [code for code, count in zip(CODES, counts, strict=True) if count == max(counts)]
            if str(sum(counts)) == clip.total and ":".join(winners) == clip.official:
                return counts
        found = f"{clip.name}: {' '.join(clip.counts)}, numResponses {clip.total}, emoVote {clip.official}"
        expected = f"whole counts of {' '.join(CODES)}, their sum and their plurality"
        raise LabelFileError(self.votes_file, clip.line, found, expected)

    def _responses_to(self, clip: Clip, counts: Sequence[int]) -> tuple[Vote, ...]:
        """The responses to a clip, of which its counted votes must be a part, and after the release's filter all."""
        votes = self._responses.get(clip.name, ())
        given = [sum(vote.choices == (emotion,) for vote in votes) for emotion in CODES.values()]
        missing = any(there < counted for there, counted in zip(given, counts, strict=True))
        if missing or (self.responses == "filtered" and sum(given) > sum(counts)):
            found, expected = (" ".join(map(str, numbers)) for numbers in (given, counts))
            without = f" without the late ones of {self.first_clicks_file}" if self.responses == "filtered" else ""
            raise CorpusError(
                f"{self.responses_file}{without}: to the {self.modality} of {clip.name} there are {found} responses "
                f"{' '.join(CODES)}, but {self.votes_file}, line {clip.line}, counts {expected}"
            )
        return votes

    @functools.cached_property
    def _responses(self) -> dict[str, tuple[Vote, ...]]:
        """The modality's responses by clip."""
        distracted = self._distracted() if self.responses == "filtered" else frozenset()
        names, rows = {clip.name for clip in self._clips}, set()
        responses = collections.defaultdict[str, list[Vote]](list)
        for line, row, (annotator, clip, answer, number, *question) in read_table(self.responses_file, RESPONSE):
            key, modality = _question(self.responses_file, line, question), question[0]
            if row in rows or modality not in MODALITIES.values():
                expected = "a row name that is not there already, and a queryType from 1 to 3"
                raise LabelFileError(self.responses_file, line, f"{row}: queryType {modality}", expected)
            rows.add(row)
            if number in PRACTICE:
                continue
            if clip not in names or answer not in CODES or not annotator:
                expected = f"an annotator, a clip of {self.marker}, and an answer out of {' '.join(CODES)}"
                raise LabelFileError(self.responses_file, line, f"{annotator}, {clip}, {answer}", expected)
            if modality == MODALITIES[self.modality] and key not in distracted:
                responses[clip].append(Vote(annotator, EXTERNAL, (CODES[answer],)))
        return {clip: tuple(votes) for clip, votes in responses.items()}

    def _distracted(self) -> frozenset[int]:
        """Questions whose first click came late: the responses that `processFinishedResponses.R` leaves out."""
        return frozenset(
            _question(self.first_clicks_file, line, question)
            for line, _, (milliseconds, *question) in read_table(self.first_clicks_file, FIRST_CLICK)
            if NUMBER.fullmatch(milliseconds) and float(milliseconds) > DISTRACTED
        )

    def _demographics(self) -> dict[str, dict[str, Any]]:
        """What is known of the actors; nothing where the file is absent."""
        if not os.path.isfile(self.demographics_file):
            return {}
        known = {}
        for line, actor, (sex, age, race, ethnicity) in read_table(self.demographics_file, DEMOGRAPHICS):
            years = _whole(age)
            if sex not in GENDERS or years is None or years > MAX_AGE or actor in known:
                expected = "another actor's age in years and sex"
                raise LabelFileError(self.demographics_file, line, f"{actor}, {age}, {sex}", expected)
            known[actor] = {columns.GENDER: GENDERS[sex], "age": years, "race": race, "ethnicity": ethnicity}
        return known


def read_table(path: str, needed: Sequence[str]) -> Iterator[tuple[int, str, tuple[str, ...]]]:
    """Line number, row name (the first cell) and the `needed` cells of every row of a CSV, a line each."""
    text_lines = read_text(path).split("\n")
    rows = csv.reader(text_lines, strict=True)
    line = 0
    try:
        header = next(rows, [])
        if missing := [name for name in needed if header.count(name) != 1]:
            raise LabelFileError(path, 1, text_lines[0], f"a header with the columns {missing}")
        pick = operator.itemgetter(*map(header.index, needed))
        for line, cells in enumerate(rows, start=2):
            if rows.line_num != line or len(cells) not in (0, len(header)):
                raise LabelFileError(path, line, text_lines[line - 1], f"{len(header)} cells")
            if cells:
                yield line, cells[0], pick(cells)
    except csv.Error as error:
        raise LabelFileError(path, line + 1, text_lines[line], f"cells in quotes or without ({error})") from error


def _actor(clip: Clip) -> str:
    return clip.name.split("_")[0]


@functools.lru_cache
def _anonymous(counts: tuple[int, ...]) -> tuple[Vote, ...]:
    """A vote for each that was counted; only the choice was released."""
    return tuple(
        vote
        for emotion, count in zip(CODES.values(), counts, strict=True)
        for vote in [Vote(None, EXTERNAL, (emotion,))] * count
    )


def _question(path: str, line: int, cells: Sequence[str]) -> int:
    """The release's number of a question, from its queryType, questNum and sessionNums."""
    modality, question, session = map(_whole, cells)
    if modality is None or question is None or session is None:
        raise LabelFileError(path, line, ", ".join(cells), "whole numbers")
    return session * 1000 + modality * 100 + question


def _whole(cell: str) -> int | None:
    """A whole number as R writes it (100000 is 1e+05); None for anything else."""
    number = float(cell) if NUMBER.fullmatch(cell) else math.nan
    return int(number) if number.is_integer() else None


def _why_silent(recording: str) -> str | None:
    """Say why a file holds no sound, or None when it does."""
    if os.path.getsize(recording) <= WAV_HEADER:
        return "the file holds no sound"
    return "the file is a git-LFS pointer: run `git lfs pull`" if audio.is_lfs_pointer(recording) else None


@dataclasses.dataclass
class CremaDConfig(CorpusConfig):
    """Modality and source of the votes, and rows, of CREMA-D.

    responses: the votes are those of the table ("tabulated", without their annotators); or, with annotators, the
        responses that the table counts ("filtered"); or all responses, also those of distracted annotators ("all").
    """

    label_set: Any = CremaDFolder.inventory
    modality: str = "voice"
    responses: str = "tabulated"

    folder_class = CremaDFolder
    folder_arguments = ("modality", "responses")

    def check(self) -> None:
        super().check()
        for name, allowed in (("modality", MODALITIES), ("responses", RESPONSES)):
            if (value := getattr(self, name)) not in allowed:
                raise CorpusError(f"`{name}` is {value!r}.{did_you_mean(str(value), allowed)}")


class CremaD(CorpusBuilder):
    """`load_dataset("crema_d", data_dir=...)`: split `train`, or a speaker-independent fold."""

    BUILDER_CONFIG_CLASS = CremaDConfig
    BUILDER_CONFIGS = [
        CremaDConfig(name=modality, modality=modality, description=f"Votes on the {modality}.")
        for modality in MODALITIES
    ]
    DEFAULT_CONFIG_NAME = "voice"
