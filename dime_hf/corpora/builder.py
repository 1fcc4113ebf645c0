"""The `datasets` builder that all corpora share: a folder -> rows under a label set and a policy -> Arrow tables."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import datasets
import pyarrow as pa
from datasets.packaged_modules import _hash_python_lines

from dime_hf import columns
from dime_hf.corpora.folder import TOY_LICENCE, TOY_MARK, CorpusFolder, fold_splits
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.policy import Tally, VotePolicy
from dime_hf.corpora.rows import ROWS, Rows
from dime_hf.errors import CorpusError, did_you_mean

logger = logging.getLogger(__name__)
MISSING_AUDIO = ("keep", "drop", "error")


@dataclasses.dataclass
class CorpusConfig(datasets.BuilderConfig):
    """What can be chosen when a corpus is loaded.

    label_set: the config's own, or a mapping from class names to lists of raw labels merged into them.
    vote_policy: how ticks become counts, or its name in `POLICIES`; the default reproduces the corpus's official
        labels.
    rows: "voted" (a vote inside the label set), "decided" (an official label inside it), or "all".
    fold: None for the corpus's own splits, or 1 to 5 for speaker-independent train, validation and test.
    missing_audio: rows without a recording are kept with null audio ("keep"), left out ("drop"), or an "error".
    labels_only: whether to leave recordings alone: `audio` is null, and so is `duration` where only they know it.
    """

    label_set: Any = None
    vote_policy: VotePolicy | str = dataclasses.field(default_factory=VotePolicy)
    rows: str = "voted"
    fold: int | None = None
    missing_audio: str = "keep"
    labels_only: bool = False

    folder_class: ClassVar[type[CorpusFolder]]
    folder_arguments: ClassVar[tuple[str, ...]] = ()  # fields that the folder is made with, beside `data_dir`

    def check(self) -> None:
        """Raise `CorpusError` for a value that cannot be meant; `datasets` sets the fields after construction."""
        for name, allowed in (("rows", ROWS), ("missing_audio", MISSING_AUDIO)):
            if (value := getattr(self, name)) not in allowed:
                raise CorpusError(f"`{name}` is {value!r}.{did_you_mean(str(value), allowed)}")
        if self.labels_only and self.missing_audio != "keep":
            raise CorpusError(f"`missing_audio={self.missing_audio!r}` has no meaning with `labels_only=True`")

    def inventory(self) -> tuple[str, ...]:
        """All raw labels of the corpus, by their house names."""
        return self.folder_class.inventory

    def extra_features(self) -> Mapping[str, Any]:
        """Columns beside those of every corpus, with their features."""
        return self.folder_class.extra_features

    def is_toy(self) -> bool:
        """Whether `data_dir` is a toy corpus in the layout of the real one."""
        return self.data_dir is not None and (Path(self.data_dir).expanduser() / TOY_MARK).is_file()

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
            keyed["_stamp"] = self.folder_class(keyed["data_dir"]).stamp(labels_only=self.labels_only)
        return super().create_config_id(keyed, custom_features)


@functools.lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash of all code that makes the rows: changed code never meets an old cache."""
    package = Path(__file__).parent
    sources = [package.parent / "columns.py", *sorted(package.rglob("*.py"))]
    return _hash_python_lines([line for path in sources for line in path.read_text(encoding="utf-8").splitlines()])


class CorpusBuilder(datasets.ArrowBasedBuilder):
    """Emits a corpus under the data contract of `columns`. Arrow-based, so that no audio codec is needed."""

    VERSION = datasets.Version("1.0.0")
    DEFAULT_WRITER_BATCH_SIZE = 10_000  # rows hold paths, no sound: `datasets` would write a hundred at a time
    config: CorpusConfig

    def __init__(self, *args: Any, hash: str | None = None, **kwargs: Any):
        super().__init__(*args, hash=hash or code_hash(), **kwargs)
        self._reported = False

    @functools.cached_property
    def folder(self) -> CorpusFolder:
        return self.config.folder()

    @functools.cached_property
    def tally(self) -> Tally:
        inventory = self.config.inventory()
        label_set = self.config.label_set
        if not isinstance(label_set, LabelSet):
            label_set = LabelSet.of(inventory if label_set is None else label_set, inventory)
        return Tally.of(VotePolicy.of(self.config.vote_policy), label_set, inventory)

    @functools.cached_property
    def schema(self) -> pa.Schema:
        return self.info.features.arrow_schema

    def _info(self) -> datasets.DatasetInfo:
        corpus = self.config.folder_class
        return datasets.DatasetInfo(
            description=f"{corpus.about}\n{self.tally.describe()}",
            features=columns.corpus_features(self.tally.classes, self.tally.inventory, self.config.extra_features()),
            homepage=corpus.homepage,
            license=TOY_LICENCE if self.config.is_toy() else corpus.licence,
        )

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        fold = self.config.fold
        splits = self.folder.splits() if fold is None else fold_splits(self.folder.groups(), fold)
        return [datasets.SplitGenerator(name=name, gen_kwargs={"shards": shards}) for name, shards in splits.items()]

    def _generate_tables(self, shards: list[str]) -> Iterator[tuple[str, pa.Table]]:
        rows = Rows(self.folder, self.tally, self.schema, self.config)
        for index, table in enumerate(rows.tables(shards)):
            yield f"{shards[0]}:{index}", table
        rows.report()
        self._reported = True

    def _as_dataset(self, *args: Any, **kwargs: Any) -> datasets.Dataset:
        """Open a split, and say how many recordings are missing when it was built earlier, by another load."""
        loaded = super()._as_dataset(*args, **kwargs)
        silent = loaded.data.column(columns.AUDIO).null_count
        if silent and not self._reported and not self.config.labels_only:
            corpus, split = self.config.folder_class.corpus, loaded.split
            logger.warning(
                "%s, %s: %s of %s utterances have no recording", corpus, split, f"{silent:,}", f"{len(loaded):,}"
            )
        return loaded
