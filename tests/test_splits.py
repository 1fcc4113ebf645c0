"""Splits of a loaded corpus: who is where, agreement with the builders' folds, order of rows, refusals."""

import itertools

import datasets
import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf.corpora.splits import LeakageWarning, emo_superb_folds, folds, leave_one_out, random_utterances
from dime_hf.errors import ColumnError, CorpusError


@pytest.fixture(scope="module")
def toy_sessions(toy_root):
    return dime_hf.load_dataset("iemocap", data_dir=toy_root)


def of_speakers(speakers):
    ids = [f"u{row:03}" for row in range(len(speakers))]
    features = datasets.Features({"id": datasets.Value("string"), "speaker": datasets.Value("string")})
    return Dataset.from_dict({"id": ids, "speaker": speakers}, features=features)


def shuffled(dataset, seed=1):
    return dataset.select(np.random.default_rng(seed).permutation(len(dataset)))


def members(splits):
    return {name: set(split["id"]) for name, split in splits.items()}


def values(splits, column):
    return {name: sorted(set(split[column])) for name, split in splits.items()}


def all_ids(splits):
    return [id for split in splits.values() for id in split["id"]]


def test_leave_one_session_out(toy_sessions):
    splits = leave_one_out(toy_sessions, by="session", test="session2")
    assert values(splits, "session") == {
        "train": ["session1", "session4", "session5"],
        "validation": ["session3"],
        "test": ["session2"],
    }
    corpus = all_ids(toy_sessions)
    assert all(split["id"][:] == [id for id in corpus if id in set(split["id"])] for split in splits.values())
    assert sorted(all_ids(splits)) == sorted(corpus)
    assert {name: str(split.split) for name, split in splits.items()} == {name: name for name in splits}
    assert splits["test"].features == toy_sessions["session2"].features
    assert splits["test"][0] == toy_sessions["session2"][0]


def test_validation_is_the_next_value_unless_named(toy_sessions):
    after_the_last = leave_one_out(toy_sessions, by="session", test="session5")
    assert set(after_the_last["validation"]["session"]) == {"session1"}
    named = leave_one_out(toy_sessions, by="session", test="session5", validation="session3")
    assert set(named["validation"]["session"]) == {"session3"}
    speakers = leave_one_out(toy_sessions, by="speaker", test="Ses01F")
    assert values(speakers, "speaker")["validation"] == ["Ses01M"]
    assert len(values(speakers, "speaker")["train"]) == 8


def test_values_need_not_be_strings():
    dataset = Dataset.from_dict({"id": ["a", "b", "c", "d"], "part": [10, 9, 2, 9]})
    splits = leave_one_out(dataset, by="part", test=9)
    assert members(splits) == {"train": {"c"}, "validation": {"a"}, "test": {"b", "d"}}


def test_folds_are_those_of_the_builders(toy_sessions, toy_fold):
    splits = folds(toy_sessions, by="session", fold=1)
    assert {name: split["id"][:] for name, split in splits.items()} == {
        name: split["id"][:] for name, split in toy_fold.items()
    }


def test_every_value_tests_in_one_fold(toy_sessions):
    tested = [values(folds(toy_sessions, by="speaker", fold=fold, folds=4), "speaker")["test"] for fold in range(1, 5)]
    assert tested[0] == ["Ses01F", "Ses03F", "Ses05F"]
    assert sorted(itertools.chain(*tested)) == sorted(
        {row for split in toy_sessions.values() for row in split["speaker"]}
    )


@pytest.mark.parametrize(("fold", "test", "validation"), [(1, 4, 5), (2, 3, 4), (3, 2, 3), (4, 1, 2), (5, 5, 1)])
def test_emo_superb(toy_sessions, fold, test, validation):
    sessions = values(emo_superb_folds(toy_sessions, fold), "session")
    assert (sessions["test"], sessions["validation"]) == ([f"session{test}"], [f"session{validation}"])
    assert len(sessions["train"]) == 3


def test_random_utterances_say_that_speakers_are_shared(toy_sessions):
    with pytest.warns(LeakageWarning, match="10 of 10 speakers are in both train and test: scores"):
        splits = random_utterances(toy_sessions)
    assert len(splits["test"]) == round(0.2 * len(all_ids(toy_sessions)))
    assert sorted(all_ids(splits)) == sorted(all_ids(toy_sessions))


def test_random_utterances_count_unknown_speakers():
    with pytest.warns(LeakageWarning, match="0 of 3 speakers .*, and 2 utterances are of unknown speakers"):
        random_utterances(of_speakers(["a", "b", None, "c", "Unknown"]))


def test_random_utterances_of_a_speaker_each_leak_nothing():
    splits = random_utterances(of_speakers(list("abcdefghij")), test_size=0.3)
    assert len(splits["test"]) == 3


def test_random_utterances_go_by_id_and_seed():
    dataset = of_speakers([f"s{row}" for row in range(100)])
    once = members(random_utterances(dataset))
    assert members(random_utterances(shuffled(dataset))) == once
    assert members(random_utterances(dataset, seed=7)) != once


@pytest.mark.parametrize("test_size", [0, 1, 0.01, -0.5])
def test_random_utterances_leave_no_split_empty(test_size):
    with pytest.raises(CorpusError, match="`test_size` is .*: of 10 utterances it would test on"):
        random_utterances(of_speakers(list("abcdefghij")), test_size=test_size)


def test_random_utterances_need_ids_of_their_own():
    dataset = of_speakers(["a", "b"])
    with pytest.raises(CorpusError, match="4 rows, but only 2 different ids"):
        random_utterances(DatasetDict(one=dataset, two=dataset))


@pytest.mark.parametrize("nobody", [None, "Unknown", " unknown"])
@pytest.mark.parametrize(
    "split", [lambda d: leave_one_out(d, by="speaker", test="a"), lambda d: folds(d, by="speaker", fold=1)]
)
def test_rows_without_a_group_are_refused(nobody, split):
    with pytest.raises(CorpusError, match="`by`: 2 of 7 utterances have no known 'speaker'"):
        split(of_speakers(["a", nobody, "b", "c", nobody, "d", "e"]))


def test_refusals(toy_sessions):
    with pytest.raises(CorpusError, match="`test`: no utterance has the session 'sesion1'. Did you mean 'session1'"):
        leave_one_out(toy_sessions, by="session", test="sesion1")
    with pytest.raises(CorpusError, match="`validation`: no utterance has the session 4"):
        leave_one_out(toy_sessions, by="session", test="session1", validation=4)
    with pytest.raises(CorpusError, match="`validation` and `test` are both 'session1'"):
        leave_one_out(toy_sessions, by="session", test="session1", validation="session1")
    with pytest.raises(ColumnError, match="no column 'sesion'. Did you mean 'session'"):
        leave_one_out(toy_sessions, by="sesion", test="session1")
    with pytest.raises(ColumnError, match="`by`: 'human_votes' holds List, not one group a row"):
        folds(toy_sessions, by="human_votes", fold=1)
    with pytest.raises(CorpusError, match="need three values of 'speaker', found ..a., .b.."):
        leave_one_out(of_speakers(["a", "b", "a"]), by="speaker", test="a")
    with pytest.raises(CorpusError, match="`fold` must be from 1 to 5, not 6"):
        folds(toy_sessions, by="session", fold=6)
    with pytest.raises(CorpusError, match="`fold` needs 5 groups of speakers, but there are only 1"):
        folds(of_speakers(["a", "a"]), by="speaker", fold=1)
    with pytest.raises(CorpusError, match="`folds` must be at least 3"):
        folds(toy_sessions, by="session", fold=1, folds=2)
    with pytest.raises(CorpusError, match="`fold` must be from 1 to 5, not 0"):
        emo_superb_folds(toy_sessions, 0)
    with pytest.raises(CorpusError, match="no utterance has the session 'session5'"):
        emo_superb_folds(DatasetDict({name: toy_sessions[name] for name in ("session1", "session2", "session4")}), 1)


def test_streams_are_refused():
    with pytest.raises(ColumnError, match="not IterableDataset: load the corpus without `streaming=True`"):
        folds(of_speakers(["a", "b"]).to_iterable_dataset(), by="speaker", fold=1)


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=30).filter(lambda groups: len(set(groups)) >= 3),
    st.data(),
)
def test_no_group_is_in_two_splits(groups, data):
    dataset = of_speakers(groups)
    count = data.draw(st.integers(3, len(set(groups))))
    fold = data.draw(st.integers(1, count))
    test = data.draw(st.sampled_from(groups))
    for split in (
        lambda rows: leave_one_out(rows, by="speaker", test=test),
        lambda rows: folds(rows, by="speaker", fold=fold, folds=count),
    ):
        splits = split(dataset)
        seen = [set(part["speaker"]) for part in splits.values()]
        assert all(seen)
        assert sum(map(len, seen)) == len(set(groups))
        assert sorted(all_ids(splits)) == sorted(dataset["id"])
        assert members(split(shuffled(dataset))) == members(splits)
