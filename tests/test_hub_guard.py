"""Plain `push_to_hub` of `datasets` refuses what a corpus's licence forbids, before anything is sent."""

import inspect

import datasets
import pytest
from datasets import Dataset, DatasetDict

from dime_hf.corpora import guard, register
from dime_hf.corpora.crema_d import CremaDFolder
from dime_hf.corpora.iemocap import IemocapFolder
from dime_hf.corpora.msp_podcast.builder import MspPodcastFolder
from dime_hf.errors import LicenceError


class Sent(Exception):  # noqa: N818
    """What stands for the network: the call got past the guard."""


@pytest.fixture
def caught(monkeypatch):
    """Calls that got past the guard raise `Sent`, with their arguments."""

    def send(_, *args, **kwargs):
        raise Sent(args, kwargs)

    register.unregister()
    for cls in guard.guarded():
        monkeypatch.setattr(cls, "push_to_hub", send)
    register.register()
    yield
    register.unregister()
    monkeypatch.undo()
    register.register()


def licensed(dataset, licence=IemocapFolder.licence):
    copy = dataset.select(range(len(dataset)))
    copy.info.license = licence
    return copy


@pytest.mark.parametrize("folder", [IemocapFolder, MspPodcastFolder])
@pytest.mark.usefixtures("caught")
def test_closed_corpora_are_refused_whichever_class_holds_them(toy_fold, folder):
    split = licensed(toy_fold["test"], folder.licence)
    stream = split.to_iterable_dataset()
    stream.info.license = folder.licence
    held = (split, DatasetDict(train=split), stream, stream.map(dict), datasets.IterableDatasetDict(train=stream))
    for dataset in held:
        with pytest.raises(LicenceError, match=f"recordings.*votes.*allow_upload='{folder.corpus}'"):
            dataset.push_to_hub("tester/never")
        with pytest.raises(LicenceError):
            dataset.push_to_hub("tester/never", allow_upload="toy")
        with pytest.raises(Sent):
            dataset.push_to_hub("tester/named", allow_upload=folder.corpus)


@pytest.mark.usefixtures("caught")
def test_transcripts_and_votes_are_the_corpus_too(toy_fold):
    split = licensed(toy_fold["test"])
    for column, what in guard.licensed().items():
        with pytest.raises(LicenceError, match=rf"would upload {what} \('{column}'\) of"):
            split.select_columns(["id", column]).push_to_hub("tester/never")
    with pytest.raises(Sent):
        split.remove_columns(list(guard.licensed())).push_to_hub("tester/labels")


@pytest.mark.usefixtures("caught")
def test_the_licence_outlives_stages_joins_and_disk(toy_fold, tmp_path):
    split = licensed(toy_fold["test"])
    longer = datasets.concatenate_datasets([split, Dataset.from_dict({"more": list(range(len(split)))})], axis=1)
    split.save_to_disk(tmp_path / "kept")  # local: allowed
    split.to_parquet(tmp_path / "kept.parquet")
    kept = datasets.load_from_disk(str(tmp_path / "kept"))
    joined = licensed(split, f"toy: free; iemocap: {IemocapFolder.licence}; msp: {MspPodcastFolder.licence}")
    for dataset in (longer, kept, split.filter(lambda row: row["id"]), joined):
        with pytest.raises(LicenceError):
            dataset.push_to_hub("tester/never")
    with pytest.raises(LicenceError, match=r"\(msp_podcast: .*allow_upload='msp_podcast'"):
        joined.push_to_hub("tester/never", allow_upload="iemocap")
    with pytest.raises(Sent):
        joined.push_to_hub("tester/named", allow_upload=("iemocap", "msp_podcast"))


@pytest.mark.usefixtures("caught")
def test_what_is_free_or_not_ours_is_left_alone(toy_fold):
    others = Dataset.from_dict({"audio": ["a.wav"], "text": ["b"]})
    others.info.license = "no redistribution without asking us"
    for dataset in (
        toy_fold,
        others,
        licensed(toy_fold["test"], CremaDFolder.licence),
        licensed(toy_fold["test"], ""),
    ):
        with pytest.raises(Sent, match="private"):
            dataset.push_to_hub("tester/theirs", private=True)


def test_unregistering_takes_the_guard_away():
    wrapped = Dataset.push_to_hub
    assert inspect.signature(wrapped) == inspect.signature(guard.unwrapped(Dataset))
    register.unregister()
    try:
        for cls in guard.guarded():
            assert not hasattr(cls.push_to_hub, "unwrapped")
        assert Dataset.push_to_hub is wrapped.unwrapped
    finally:
        register.register()
    once = Dataset.push_to_hub
    register.register()
    assert Dataset.push_to_hub is once
