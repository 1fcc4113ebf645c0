"""What runs on the Hub: a metric that `evaluate.load` finds, and a page to look at and listen to a dataset."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.table import embed_table_storage
from huggingface_hub import CommitInfo, HfApi, SpaceCardData
from numpy.typing import ArrayLike

from dime_hf.columns import AUDIO, classes, distribution_feature
from dime_hf.distribution import as_distributions
from dime_hf.errors import ColumnError, DistributionError, HubError
from dime_hf.hub.card import hub_licence
from dime_hf.hub.repository import make_repository, refusals_of
from dime_hf.hub.share import as_splits, shared
from dime_hf.hub.space import app
from dime_hf.stage import beside

PREDICTED = "predicted"  # the page's column of a model's distributions
GRADIO = "6.31.0"  # the version that the page was tested with
REQUIREMENTS = "datasets>=4.0,<6\nnumpy\nsoundfile\n"
EMBEDDED = 100  # recordings that are read at once
METRIC_FILES = ("README.md", "app.py", "requirements.txt")


def push_metric(
    repo: str, folder: str | os.PathLike[str], *, private: bool = True, token: str | None = None
) -> CommitInfo:
    """Push a metric's folder, such as "metrics/soft_label", as a Space: `evaluate.load(repo)` finds it there.

    `evaluate` looks for a module called like the repository: `user/soft_label` for `soft_label.py`. Raises `HubError`
    for a folder that is no metric, or another name.
    """
    folder = Path(folder)
    wanted = f"{repo.rpartition('/')[2]}.py"
    lacking = [name for name in (wanted, *METRIC_FILES) if not (folder / name).is_file()]
    if lacking:
        raise HubError(
            f"`folder` {folder} lacks {', '.join(lacking)}: a metric has a module called like `repo` ({repo!r}), "
            f"and {', '.join(METRIC_FILES)}"
        )
    return _push(repo, folder, private, token)


def push_space(
    dataset: str | datasets.Dataset | datasets.DatasetDict,
    repo: str,
    *,
    include: Collection[str] = (),
    predictions: ArrayLike | Mapping[str, ArrayLike] | None = None,
    private: bool = True,
    token: str | None = None,
) -> CommitInfo:
    """Push a Space whose page sorts utterances by ambiguity and shows what humans, proxies and a model say of each.

    What it shows is what goes there: ids and soft labels, and what `include` names as in `push_to_hub` ("votes" for
    humans, "answers" for proxies, "text", "audio" to play the clips). `predictions` (N, C) are a model's, by split
    where there are several. A `dataset` that is the name of a repository is read from there whenever the Space starts;
    if it is private, the Space needs a secret HF_TOKEN that may read it.
    """
    with tempfile.TemporaryDirectory() as folder:
        space = Path(folder)
        licence = "other"
        if isinstance(dataset, str):
            if include or predictions is not None:
                raise ColumnError(
                    "`dataset` is a repository, which is shown as it is: leave out `include`, `predictions`"
                )
            (space / "settings.json").write_text(json.dumps({"dataset": dataset}), encoding="utf-8")
        else:
            licence = _write_data(dataset, space / "data", include, predictions)
        (space / "app.py").write_bytes(Path(str(app.__file__)).read_bytes())
        (space / "requirements.txt").write_text(REQUIREMENTS, encoding="utf-8")
        (space / "README.md").write_text(_readme(dataset, licence), encoding="utf-8")
        return _push(repo, space, private, token)


def _push(repo: str, folder: Path, private: bool, token: str | None) -> CommitInfo:
    api = HfApi(endpoint=datasets.config.HF_ENDPOINT, token=token)
    with refusals_of(repo, api):
        name = make_repository(api, repo, "space", private=private, space_sdk="gradio")
        return api.upload_folder(
            repo_id=name, folder_path=folder, repo_type="space", ignore_patterns=["__pycache__/*", ".*"]
        )


def _write_data(
    dataset: datasets.Dataset | datasets.DatasetDict, folder: Path, include: Collection[str], predictions: Any
) -> str:
    """Write the splits that the page shows, with the bytes of recordings; return the Hub's name of their licence."""
    splits = as_splits(dataset)
    predicted = _by_split(predictions, splits)
    folder.mkdir()
    for name, split in splits.items():
        shown = shared(split, include)
        if name in predicted:
            shown = beside(shown, _predicted(predicted[name], split, name))
        if AUDIO in shown.column_names:
            embed = shown.with_format("arrow")
            shown = embed.map(embed_table_storage, batched=True, batch_size=EMBEDDED, load_from_cache_file=False)
        shown.with_format(None).to_parquet(folder / f"{name}.parquet")
    return hub_licence(next(iter(splits.values())).info.license or "")


def _by_split(predictions: Any, splits: Mapping[str, datasets.Dataset]) -> Mapping[str, Any]:
    if predictions is None:
        return {}
    if not isinstance(predictions, Mapping):
        if len(splits) > 1:
            raise DistributionError(f"`predictions` are of one split, `dataset` has {list(splits)}: give a mapping")
        return dict.fromkeys(splits, predictions)
    if set(predictions) != set(splits):
        raise DistributionError(
            f"`predictions` are of {list(predictions)}, but the splits of `dataset` {list(splits)}"
        )
    return predictions


def _predicted(values: ArrayLike, split: datasets.Dataset, name: str) -> datasets.Dataset:
    size = len(classes(split))
    made = as_distributions(np.asarray(values), f"predictions[{name!r}]")
    if made.shape != (len(split), size):
        raise DistributionError(f"`predictions` of {name!r} are {made.shape}, not ({len(split)}, {size})")
    features = datasets.Features({PREDICTED: distribution_feature(size)})
    return datasets.Dataset.from_dict({PREDICTED: made.astype(np.float32)}, features=features)


def _readme(dataset: Any, licence: str) -> str:
    data = SpaceCardData(
        title="Soft labels of speech emotion", sdk="gradio", sdk_version=GRADIO, app_file="app.py", license=licence,
        tags=["dime_hf", "speech-emotion-recognition", "soft-labels"], datasets=[dataset] * isinstance(dataset, str),
    )  # fmt: skip
    about = (
        "Utterances by ambiguity, and what humans, proxies and a model say of each. Made by `dime_hf.hub.push_space`."
    )
    secret = "\n\nIf the dataset is private, give the Space a secret `HF_TOKEN` that may read it." * isinstance(
        dataset, str
    )
    return f"---\n{data.to_yaml()}\n---\n\n# Soft labels of speech emotion\n\n{about}{secret}\n"
