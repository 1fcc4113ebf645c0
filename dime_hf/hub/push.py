"""`push_to_hub`: a dataset as Parquet on the Hub, private, with ids and soft labels unless more is named."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import CommitInfo, DatasetCard, HfApi

from dime_hf.annotate.store import AnswerStore
from dime_hf.corpora.guard import unwrapped
from dime_hf.hub.card import dataset_card, fill_head
from dime_hf.hub.repository import make_repository, refusals_of
from dime_hf.hub.share import as_splits, shared
from dime_hf.protocol import ScoreTable


def push_to_hub(
    dataset: datasets.Dataset | datasets.DatasetDict,
    repo: str,
    *,
    include: Collection[str] = (),
    private: bool = True,
    store: AnswerStore | str | Path | None = None,
    scores: ScoreTable | None = None,
    token: str | None = None,
    revision: str | None = None,
    **push_arguments: Any,
) -> CommitInfo:
    """Push a dataset to the Hub as Parquet with a card: ids and soft labels, and what `include` names.

    `include` holds names out of `INCLUDE` ("audio", "text", "votes", "answers", "groups", "ratings") or of columns.
    Recordings go only when "audio" or the column is named; `hard_label` is null unless "votes" is. What an earlier
    push carried stays in the repository's history. A push that broke off is repeated: what is there is not sent again.
    The card tells of the answers in `store` and of `scores`; other arguments go to `DatasetDict.push_to_hub`.

    Raises `ColumnError` for a name that is neither, and `HubError` for a public repository or a token that may not.
    """
    splits = as_splits(dataset)
    leaving = datasets.DatasetDict({name: shared(split, include) for name, split in splits.items()})
    api = HfApi(endpoint=datasets.config.HF_ENDPOINT, token=token)
    with refusals_of(repo, api):
        name = repo if "/" in repo else f"{api.whoami()['name']}/{repo}"
        text = dataset_card(splits, leaving, repo=name, store=store, scores=scores)  # what it refuses leaves nothing
        make_repository(api, name, "dataset", private=private)
        push = unwrapped(datasets.DatasetDict)  # the guard is for pushes of everything
        commit = push(leaving, name, private=private, token=token, revision=revision, **push_arguments)
        at = commit.pr_revision or revision
        card = DatasetCard.load(api.hf_hub_download(name, "README.md", repo_type="dataset", revision=at))
        fill_head(card, splits)
        card.text = text
        card.push_to_hub(name, token=token, revision=at, commit_message="Card")
    return commit
