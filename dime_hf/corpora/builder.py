"""The `datasets` builder that all corpora share: folder -> rows under a label set and a vote policy -> Arrow tables."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pyarrow as pa
from datasets.packaged_modules import _hash_python_lines

from dime_hf import audio, columns
from dime_hf.corpora.folder import CorpusFolder, Utterance, fold_splits
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.votes import Tally, VotePolicy, human_columns
from dime_hf.errors import CorpusError, did_you_mean

logger = logging.getLogger(__name__)
ROWS = ("voted", "decided", "all")
MISSING_AUDIO = ("keep", "drop", "error")
ROWS_PER_TABLE = 1000


@dataclasses.dataclass
class CorpusConfig(datasets.BuilderConfig):
    """What can be chosen when a corpus is loaded.

    label_set: the config's own, or a mapping from class names to lists of raw labels merged into them.
    vote_policy: how ticks become counts; the default reproduces the corpus's official labels.
    rows: "voted" (a vote inside the label set), "decided" (an official label inside it), or "all".
    fold: None for the corpus's own splits, or 1 to 5 for speaker-independent train, validation and test.
    missing_audio: rows without a recording are kept with null audio ("keep"), left out ("drop"), or an "error".
    """

    label_set: Any = None
    vote_policy: VotePolicy = dataclasses.field(default_factory=VotePolicy)
    rows: str = "voted"
    fold: int | None = None
    missing_audio: str = "keep"

    folder_class: ClassVar[type[CorpusFolder]]
    folder_arguments: ClassVar[tuple[str, ...]] = ()  # fields that the folder is made with, beside `data_dir`

    def check(self) -> None:
        """Raise `CorpusError` for a value that cannot be meant; `datasets` sets the fields after construction."""
        for name, allowed in (("rows", ROWS), ("missing_audio", MISSING_AUDIO)):
            if (value := getattr(self, name)) not in allowed:
                raise CorpusError(f"`{name}` is {value!r}.{did_you_mean(str(value), allowed)}")

    def folder(self) -> CorpusFolder:
        """The corpus at `data_dir`."""
        if self.data_dir is None:
            corpus = self.folder_class.corpus
            raise CorpusError(f'`data_dir` is needed: load_dataset("{corpus}", data_dir="the folder of {corpus}")')
        return self.folder_class(self.data_dir, **{name: getattr(self, name) for name in self.folder_arguments})

    def create_config_id(self, config_kwargs: dict[str, Any], custom_features: Any = None) -> str:
        """Cache key: the arguments and the state of the label files, so that an edited corpus is read again."""
        self.check()
        keyed = dict(config_kwargs)
        if keyed.get("data_dir"):
            keyed["data_dir"] = os.path.abspath(os.path.expanduser(keyed["data_dir"]))
            keyed["_stamp"] = self.folder_class(keyed["data_dir"]).stamp()
        return super().create_config_id(keyed, custom_features)


@functools.lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash of all code that makes the rows: changed code never meets an old cache."""
    package = Path(__file__).parent
    sources = [package.parent / "columns.py", *sorted(package.glob("*.py"))]
    return _hash_python_lines([line for path in sources for line in path.read_text(encoding="utf-8").splitlines()])


class CorpusBuilder(datasets.ArrowBasedBuilder):
    """Emits a corpus under the data contract of `columns`. Arrow-based, so that no audio codec is needed."""

    VERSION = datasets.Version("1.0.0")
    config: CorpusConfig

    def __init__(self, *args: Any, hash: str | None = None, **kwargs: Any):
        super().__init__(*args, hash=hash or code_hash(), **kwargs)

    @functools.cached_property
    def tally(self) -> Tally:
        inventory = self.config.folder_class.inventory
        label_set = self.config.label_set
        if not isinstance(label_set, LabelSet):
            label_set = LabelSet.of(label_set, inventory)
        return Tally.of(self.config.vote_policy, label_set, inventory)

    def _info(self) -> datasets.DatasetInfo:
        corpus = self.config.folder_class
        return datasets.DatasetInfo(
            description=f"{corpus.about}\n{self.tally.describe()}",
            features=columns.corpus_features(self.tally.classes, corpus.inventory, corpus.extra_features),
            homepage=corpus.homepage,
            license=corpus.licence,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        folder = self.config.folder()
        fold = self.config.fold
        splits = folder.splits() if fold is None else fold_splits(folder.groups(), fold)
        return [datasets.SplitGenerator(name=name, gen_kwargs={"shards": shards}) for name, shards in splits.items()]

    def _generate_tables(self, shards: list[str]) -> Iterator[tuple[str, pa.Table]]:
        rows = Rows(self.config, self.tally)
        stream = rows.read(shards)
        batches = iter(lambda: list(itertools.islice(stream, ROWS_PER_TABLE)), [])
        for index, batch in enumerate(itertools.chain(batches, [[]])):  # the empty last one keeps a split without rows valid
            yield f"{shards[0]}:{index}", _table(batch, self.info.features)
        rows.report()


class Rows:
    """Reads utterances, counts their votes, leaves out what was not asked for, and remembers what had no recording."""

    def __init__(self, config: CorpusConfig, tally: Tally):
        self.config, self.tally = config, tally
        self.choice = {raw: index for index, raw in enumerate(tally.inventory)}
        self.read_count = 0
        self.missing: dict[str, list[str]] = {}

    def read(self, shards: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Rows as columns of the data contract; labels as class indices."""
        folder = self.config.folder()
        for utterance in folder.read(shards):
            counts, hard_label = self.tally.count(utterance.votes), self._hard_label(utterance)
            if not self._wanted(counts, hard_label):
                continue
            self.read_count += 1
            if reason := folder.why_missing(utterance.audio):
                self._miss(utterance, reason)
                if self.config.missing_audio == "drop":
                    continue
            elif columns.DURATION not in utterance.fields:
                utterance.fields[columns.DURATION] = audio.duration(utterance.audio)
            yield {
                columns.ID: utterance.id,
                columns.AUDIO: None if reason else {"bytes": None, "path": utterance.audio},
                columns.HUMAN_VOTES: [self._indexed(vote) for vote in utterance.votes],
                columns.VOTE_COUNTS: counts,
                columns.HARD_LABEL: hard_label,
                **utterance.fields,
            }

    def report(self) -> None:
        """Say in one line a reason how many utterances have no recording."""
        for reason, paths in self.missing.items():
            logger.warning(
                "%s: %s of %s utterances have no recording (%s, first: %s); %s",
                self.config.folder_class.corpus,
                f"{len(paths):,}",
                f"{self.read_count:,}",
                reason,
                paths[0],
                "they stay, with null audio" if self.config.missing_audio == "keep" else "they are left out",
            )

    def _hard_label(self, utterance: Utterance) -> int | None:
        if not self.tally.follows_the_corpus:
            return self.tally.decide(utterance.votes)
        return None if utterance.official is None else self.tally.label_set.class_of.get(utterance.official)

    def _wanted(self, counts: Sequence[float], hard_label: int | None) -> bool:
        return {"voted": any(counts), "decided": hard_label is not None, "all": True}[self.config.rows]

    def _indexed(self, vote: Mapping[str, Any]) -> dict[str, Any]:
        return {**vote, "choices": [self.choice[raw] for raw in vote["choices"]]}

    def _miss(self, utterance: Utterance, reason: str) -> None:
        if self.config.missing_audio == "error":
            raise CorpusError(f"{utterance.audio}: no recording of utterance {utterance.id!r} ({reason}); see `missing_audio`")
        self.missing.setdefault(reason, []).append(utterance.audio)


def _table(rows: list[dict[str, Any]], features: datasets.Features) -> pa.Table:
    """Arrow table of rows in the features' own schema; fields that a corpus does not know are null."""
    given = {name: [row.get(name) for row in rows] for name in features}
    given.update(human_columns(given[columns.VOTE_COUNTS]))
    schema = features.arrow_schema
    return pa.table([pa.array(given[field.name], type=field.type) for field in schema], schema=schema)
