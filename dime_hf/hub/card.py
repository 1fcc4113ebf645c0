"""The card of a pushed dataset, written from what it holds: classes, votes, answers, pooling, DiME-Aug, licences."""

from __future__ import annotations

import bisect
import collections
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.compute as pc
from huggingface_hub import DatasetCard

from dime_hf import columns
from dime_hf.annotate.annotator import failure_kind
from dime_hf.annotate.card import annotation_card
from dime_hf.annotate.store import AnswerStore
from dime_hf.cards import how_to_read
from dime_hf.columns import ANSWERS, AUDIO, AUGMENTATION, CORPUS, FAILED, HARD_LABEL, SOFT_LABEL_SOURCE
from dime_hf.corpora.policy import TALLY_LINE
from dime_hf.protocol import ScoreTable
from dime_hf.stage import read_column

HUB_LICENCES = {"ODbL": "odbl"}  # the start of a corpus's licence, and what the Hub calls it
TAGS = ("dime_hf", "speech-emotion-recognition", "soft-labels")
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")
ATTACH = """```python
import datasets
from dime_hf.hub import attach_audio

labels = datasets.load_dataset("{repo}")
clips = attach_audio(labels, {arguments})
```

{where} have the same `id` in your own copy of the corpus; `duration` (seconds) is compared with it."""

Splits = Mapping[str, datasets.Dataset]


def dataset_card(
    given: Splits,
    shared: Splits,
    *,
    repo: str,
    store: AnswerStore | str | Path | None = None,
    scores: ScoreTable | None = None,
) -> str:
    """Return the Markdown of a card of `repo`: splits as they are `given`, and the part of them that is `shared`.

    `store` tells of its proxies' models, revisions, prompts and failures. The same arguments give the same card.
    """
    first = next(iter(given.values()))
    sections = [
        "# Soft labels of speech emotion",
        *_about(first),
        _contents(given, shared),
        "## Labels",
        f"Classes, in the order of `soft_label`: {', '.join(map(plain, columns.classes(first)))}.",
        _policy(first),
        _table(("split", "source of the soft label", "rows"), _counted(given, SOFT_LABEL_SOURCE, str)),
        *_answers(given, store),
        *_augmentation(given),
        *_scores(scores),
        "## Recordings",
        _recordings(shared, repo),
        "## Licences",
        f"Of the corpus: {plain(first.info.license or 'not known')}. The labels are made of votes on it: whether they "
        "may be passed on is for that licence to say.",
    ]
    return "\n\n".join(["", *sections, ""])


def fill_head(card: DatasetCard, splits: Splits) -> None:
    """Write the metadata of a card: licence, tags, task and size."""
    data: Any = card.data
    data.license = hub_licence(next(iter(splits.values())).info.license or "")
    data.license_name = "see-the-card" if data.license == "other" else None
    data.tags = list(dict.fromkeys([*(getattr(data, "tags", None) or []), *TAGS]))
    data.task_categories = ["audio-classification"]
    data.size_categories = [SIZE_NAMES[bisect.bisect(SIZES, sum(map(len, splits.values())))]]


def hub_licence(licence: str) -> str:
    """The Hub's name of a corpus's licence; "other" for what is not among the free ones."""
    return next((name for start, name in HUB_LICENCES.items() if licence.startswith(start)), "other")


def plain(text: object) -> str:
    r"""Return text as one line that Markdown shows as it is, in a table, too.

    >>> print(plain("a|b\n*c* <d>"))
    a\|b \*c\* &lt;d>
    """
    line = " ".join(str(text).split()).replace("\\", "\\\\").replace("<", "&lt;")
    for sign in "|*`[]":
        line = line.replace(sign, "\\" + sign)
    return "\\" + line if line.startswith(("#", "-", "+")) else line


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _about(first: datasets.Dataset) -> list[str]:
    """What the corpora say about themselves."""
    lines = (first.info.description or "").splitlines()
    return [plain(line) for line in lines if line and not line.startswith(TALLY_LINE)]


def _contents(given: Splits, shared: Splits) -> str:
    """Rows by split, and the columns that are here and that are not."""
    rows = [(name, f"{len(split):,}") for name, split in shared.items()]
    votes = any(read_column(split, HARD_LABEL).null_count < len(split) for split in shared.values())
    empty = () if votes else (HARD_LABEL,)  # there for the names of the classes in its type
    here = [name for name in next(iter(shared.values())).column_names if name not in empty]
    left = [name for name in next(iter(given.values())).column_names if name not in here]
    return "\n\n".join(
        [
            _table(("split", "utterances"), rows),
            f"Here: {', '.join(f'`{name}`' for name in here)}.",
            f"Not here: {', '.join(f'`{name}`' for name in left) or 'nothing'}"
            f"{'' if votes else ' (`hard_label` is null, and names the classes in its type)'}.",
        ]
    )


def _policy(first: datasets.Dataset) -> str:
    lines = (first.info.description or "").splitlines()
    told = [line for line in lines if line.startswith(TALLY_LINE)]
    if not told:
        return "How the votes were counted is not known."
    return f"{TALLY_LINE}`{told[-1].removeprefix(TALLY_LINE).replace('`', '')}`"


def _counted(given: Splits, column: str, read: Callable[[str], str]) -> list[tuple[str, str, str]]:
    """Rows by split and by what `read` makes of the column, the most frequent first."""
    rows = []
    for name, split in given.items():
        if column not in split.column_names:
            continue
        counts: collections.Counter[str] = collections.Counter()
        for one in read_column(split, column).value_counts().to_pylist():
            counts[read(one["values"])] += one["counts"]
        rows += [
            (name, value, f"{count:,}") for value, count in sorted(counts.items(), key=lambda one: (-one[1], one))
        ]
    return rows


def _answers(given: Splits, store: AnswerStore | str | Path | None) -> list[str]:
    """Who answered in place of humans, and what failed."""
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for split in given.values():
        for proxy, order, status, error in _entries(split):
            counts[proxy].update([failure_kind(error or "") if status == FAILED else "answers", f"order {order}"])
    if not counts and store is None:
        return []
    told = ["## Proxies", "Simulated annotators: their answers are no human votes."]
    if counts:
        rows = (_proxy(name, found) for name, found in sorted(counts.items()))
        told.append(_table(("proxy", "answers", "option orders", "failed"), rows))
    if store is None:
        return [*told, "Models, revisions and prompts were not told: `push_to_hub(..., store=...)` tells them."]
    return [*told, annotation_card(store).replace("## Synthetic answers", "### From the answer store").strip()]


def _entries(split: datasets.Dataset) -> Iterable[tuple[str, str, str, str | None]]:
    """Proxy, option order, status and error of every answer of a split."""
    if ANSWERS not in split.column_names:
        return []
    answers = read_column(split, ANSWERS).flatten()
    fields = (pc.struct_field(answers, name).to_pylist() for name in ("proxy", "order", "status", "error"))
    return ((proxy, str(order), status, error) for proxy, order, status, error in zip(*fields, strict=True))


def _proxy(name: str, counts: Mapping[str, int]) -> tuple[str, str, int, str]:
    """The row of a proxy in the table."""
    orders = sum(key.startswith("order ") for key in counts)
    kinds = sorted(key for key in counts if key != "answers" and not key.startswith("order "))
    return (
        name,
        f"{counts.get('answers', 0):,}",
        orders,
        ", ".join(f"{counts[kind]:,} {kind}" for kind in kinds) or "0",
    )


def _augmentation(given: Splits) -> list[str]:
    """New rows by what they were made with."""
    made = [row for row in _counted(given, AUGMENTATION, _operation) if row[1]]
    if not made:
        return []
    about = "Rows made by DiME-Aug of others; `parents`, `parent_weights` and `augmentation` say how."
    return ["## DiME-Aug", about, _table(("split", "made with", "rows"), made)]


def _operation(told: str | None) -> str:
    """Operation and recipe of a row, empty for a real one."""
    fields = json.loads(told) if told else {}
    return f"{fields.get('operation')} ({fields.get('recipe')})" if fields else ""


def _scores(scores: ScoreTable | None) -> list[str]:
    return [] if scores is None else ["## Scores", how_to_read(scores)]


def _recordings(shared: Splits, repo: str) -> str:
    first = next(iter(shared.values()))
    if AUDIO in first.column_names:
        return "They are in the column `audio`, as the files' bytes."
    corpora = sorted({name for split in shared.values() for name in _corpora(split)})
    if len(corpora) > 1:
        arguments = "data_dir={" + ", ".join(f"{name!r}: {f'folder of {name}'!r}" for name in corpora) + "}"
    else:
        named = "" if corpora else ', corpus="the corpus"'
        arguments = f'data_dir="the folder of {corpora[0] if corpora else "the corpus"}"{named}'
    where = "Real rows" if columns.PARENTS in first.column_names else "They"
    return "They are not here. Join your own:\n\n" + ATTACH.format(repo=repo, arguments=arguments, where=where)


def _corpora(split: datasets.Dataset) -> list[str]:
    return [] if CORPUS not in split.column_names else split.unique(CORPUS)
