"""What splits share, against brute force; what dropping and regrouping leave; recordings by content."""

import itertools
import logging
import re
import shutil

import datasets
import numpy as np
import pytest
from datasets import Audio, Dataset, DatasetDict, Value
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf.corpora import keys
from dime_hf.corpora.keys import KINDS
from dime_hf.corpora.leakage import drop, duplicates, leakage
from dime_hf.corpora.regroup import regroup
from dime_hf.corpora.splits import LeakageWarning, folds, leave_one_out
from dime_hf.errors import AudioError, ColumnError, CorpusError

SPLITS = ("train", "validation", "test")
LINES = (
    "So it goes, my friend.",
    "so it goes my FRIEND",
    "[LAUGHTER] So it goes - my friend",
    "Yes.",
    "What is it now?",
)
CONTENTS = (b"RIFF one", b"RIFF two", b"RIFF three")


def row_of(speakers, dialogs, silent):
    """A row of one of some speakers and dialogs; one in `silent` is without text, and without a recording."""
    return st.fixed_dictionaries(
        {
            "speaker": st.sampled_from([*(f"s{number}" for number in range(speakers)), "Unknown", None]),
            "dialog": st.sampled_from([*(f"d{number}" for number in range(dialogs)), None]),
            "text": st.sampled_from([*LINES, *[None] * silent]),
            "audio": st.sampled_from([*CONTENTS, *[None] * silent]),
        }
    )


crowded = st.lists(st.tuples(row_of(6, 6, 3), st.integers(0, 2)), min_size=1, max_size=14)
sparse = st.lists(st.tuples(row_of(30, 60, 40), st.integers(0, 2)), min_size=6, max_size=20)
few = settings(max_examples=15, deadline=None)


def of_rows(rows, start=0, decode=False):
    """A dataset of rows that say what differs from a silent, unknown one; `audio` may be bytes or a path."""
    cells = [each.get("audio") for each in rows]
    columns = {
        "id": [each.get("id", f"u{start + number:03}") for number, each in enumerate(rows)],
        **{name: [each.get(name) for each in rows] for name in ("speaker", "dialog", "text")},
        "audio": [
            None
            if cell is None
            else {"bytes": cell, "path": None}
            if isinstance(cell, bytes)
            else {"bytes": None, "path": str(cell)}
            for cell in cells
        ],
    }
    features = {name: Value("string") for name in columns} | {
        "audio": {"bytes": Value("binary"), "path": Value("string")}
    }
    return Dataset.from_dict(columns, features=datasets.Features(features)).cast_column("audio", Audio(decode=decode))


def of_splits(**rows):
    starts = itertools.accumulate(map(len, rows.values()), initial=0)
    return DatasetDict({name: of_rows(own, start) for (name, own), start in zip(rows.items(), starts, strict=False)})


def spread(rows, places):
    """Splits of the rows by their place, 0 to 2."""
    whole = of_rows(rows)
    return DatasetDict(
        {name: whole.select([i for i, p in enumerate(places) if p == place]) for place, name in enumerate(SPLITS)}
    )


def key(row, kind):
    """What a row is compared by, spelt out."""
    value = row["audio"]["bytes"] if kind == "audio" and row["audio"] else row[kind]
    if kind == "text" and value:
        words = re.sub(r"[^a-z]+", " ", re.sub(r"\[.*?\]", "", value).lower()).split()
        return " ".join(words) if len(words) >= 4 else None
    return None if value == "Unknown" else value


def brute_force(splits):
    """Ids of the rows that share something: {(kind, first split, second split): (ids, ids)}."""
    found = {}
    for (first, ones), (second, others) in itertools.combinations(splits.items(), 2):
        for kind in KINDS:
            pairs = [
                (one["id"], other["id"])
                for one in ones
                for other in others
                if key(one, kind) is not None and key(one, kind) == key(other, kind)
            ]
            if pairs:
                found[kind, first, second] = tuple(set(ids) for ids in zip(*pairs, strict=True))
    return found


def found_by(report):
    return {
        (leak.kind, *leak.splits): tuple(
            set(itertools.chain(*side)) for side in zip(*leak.shared.values(), strict=True)
        )
        for leak in report.leaks
    }


def shared_text(report):
    return {leak.splits: list(leak.shared) for leak in report.leaks if leak.kind == "text"}


@few
@given(crowded)
def test_report_is_brute_force(placed):
    splits = spread(*zip(*placed, strict=True))
    report = leakage(splits)
    assert found_by(report) == brute_force(splits)
    assert bool(report) is not report.clean
    for leak in report.leaks:
        assert leak.rows == tuple(map(len, found_by(report)[leak.kind, *leak.splits]))
        assert report.count(leak.kind, *leak.splits[::-1]) == len(leak) > 0
    for kind, name in itertools.product(KINDS, SPLITS):
        assert report.unmatched[kind][name] == sum(key(each, kind) is None for each in splits[name])


@few
@given(st.one_of(crowded, sparse), st.sampled_from(["test", ("validation", "test")]))
def test_drop_leaves_nothing_shared_with_the_kept(placed, keep):
    splits = spread(*zip(*placed, strict=True))
    report = leakage(splits)
    try:
        dropped = drop(splits, report, keep=keep)
    except CorpusError:  # nothing would be left
        reject()
    for name in (keep,) if isinstance(keep, str) else keep:
        assert dropped[name]["id"][:] == splits[name]["id"][:]
    left = {leak.splits for leak in leakage(dropped).leaks}
    assert left <= ({("validation", "test")} if "validation" in keep else set())
    gone = report.to_drop(keep)
    assert {name: set(splits[name]["id"]) - set(dropped[name]["id"]) for name in splits} == gone
    guilty = brute_force(splits)
    assert gone["train"] <= set().union(*(ids[0] for (_, first, _), ids in guilty.items() if first == "train"))


@few
@given(sparse, st.integers(0, 3), st.randoms(use_true_random=False))
@pytest.mark.filterwarnings("ignore::dime_hf.corpora.splits.LeakageWarning")
def test_regroup_shares_nothing_and_goes_by_id(placed, seed, random):
    rows = [each for each, _ in placed]
    dataset = of_rows(rows)
    try:
        splits = regroup(dataset, seed=seed)
    except CorpusError:  # too much hangs together
        reject()
    assert leakage(splits).clean
    assert sorted(id for split in splits.values() for id in split["id"]) == dataset["id"][:]
    order = random.sample(range(len(rows)), len(rows))
    again = regroup(dataset.select(order), seed=seed)
    assert {name: set(split["id"]) for name, split in again.items()} == {
        name: set(split["id"]) for name, split in splits.items()
    }


def test_lines_recur_whatever_their_case_tags_and_punctuation():
    report = leakage(
        of_splits(
            train=[{"text": "[LAUGHTER] Don't you know, John?"}, {"text": "Oh, Yes."}, {"text": "[a b c d] Oh yes"}],
            test=[{"text": "don’t  you know john [inaudible 00:04:08]"}, {"text": "oh yes"}, {"text": "Oh yes."}],  # noqa: RUF001
        )
    )
    assert shared_text(report) == {("train", "test"): ["dont you know john"]}
    assert report.unmatched["text"] == {"train": 2, "test": 2}


def test_lines_of_other_alphabets():
    report = leakage(
        of_splits(train=[{"text": "Wie schön, daß Élise kommt!"}], test=[{"text": "wie schön daß élise kommt"}])
    )
    assert shared_text(report) == {("train", "test"): ["wie schön daß élise kommt"]}


def test_unknown_speakers_match_nobody():
    report = leakage(
        of_splits(
            train=[{"speaker": "Unknown"}, {"speaker": None}, {"speaker": "a"}],
            test=[{"speaker": "unknown"}, {"speaker": None}, {"speaker": "b"}],
        )
    )
    assert report.clean
    assert report.unmatched["speaker"] == {"train": 2, "test": 2}
    assert "train: 2 utterances of unknown speakers: may be anyone" in str(report)


def test_report_as_a_table():
    splits = of_splits(
        train=[{"speaker": "a", "audio": b"same", "dialog": "d1"}, {"speaker": "b", "dialog": "d1"}],
        test=[{"speaker": "a", "audio": b"same", "dialog": "d2"}],
    )
    assert str(leakage(splits)).splitlines() == [
        "train (2), test (1); compared by id, speaker, dialog, audio, text",
        "splits                  kind      shared             rows  e.g.",
        "train / test            speaker        1            1 / 1  a",
        "train / test            audio          1            1 / 1  u000 = u002",
        "train: 1 utterances without a recording",
        "train: 2 utterances of fewer than 4 words",
        "test: 1 utterances of fewer than 4 words",
    ]
    assert str(leakage(splits, kinds="dialog")).splitlines() == [
        "train (2), test (1); compared by dialog",
        "no two splits share anything",
    ]


def test_any_column_of_groups_can_be_compared():
    splits = of_splits(train=[{"speaker": "a"}], test=[{"speaker": "b"}])
    splits = splits.map(lambda batch: {"room": ["r1"] * len(batch["id"])}, batched=True)
    assert leakage(splits, kinds=("speaker", "room")).count("room", "train", "test") == 1


def test_an_utterance_in_two_splits():
    splits = of_splits(train=[{"id": "u1"}], test=[{"id": "u1"}])
    assert leakage(splits).count("id", "train", "test") == 1


def write(folder, **contents):
    for name, content in contents.items():
        (folder / f"{name}.wav").write_bytes(content)
    return {name: folder / f"{name}.wav" for name in contents}


def test_recordings_are_compared_by_content(tmp_path):
    long = bytes(range(256)) * 100
    files = write(tmp_path, one=long, two=long, other=b"!" + long[1:], end=long[:-1] + b"!", short=b"short")
    splits = of_splits(
        train=[{"audio": files["one"]}, {"audio": files["other"]}, {"audio": b"short"}, {}],
        validation=[{"audio": files["end"]}, {"audio": files["short"]}],
        test=[{"audio": files["two"]}, {"audio": long}, {}],
    )
    report = leakage(splits, kinds="audio")
    assert found_by(report) == {
        ("audio", "train", "validation"): ({"u002"}, {"u005"}),
        ("audio", "train", "test"): ({"u000"}, {"u006", "u007"}),
    }
    assert report.unmatched["audio"] == {"train": 1, "validation": 0, "test": 1}
    assert duplicates(splits) == [["u000", "u006", "u007"], ["u002", "u005"]]


def test_only_candidates_are_read(tmp_path, monkeypatch):
    files = write(tmp_path, one=b"12345", two=b"12345", sized=b"54321", longer=b"123456")
    read = []
    monkeypatch.setattr(keys, "content_hash", lambda cell: read.append(cell["path"]) or "hash")
    dataset = of_rows([{"audio": path} for path in files.values()])
    assert duplicates(dataset) == [["u000", "u001"]]
    assert read == [str(files["one"]), str(files["two"])]


def test_recordings_are_not_decoded(tmp_path):
    files = write(tmp_path, one=b"no sound", two=b"no sound")
    dataset = of_rows([{"audio": path} for path in files.values()], decode=True)
    assert duplicates(dataset) == [["u000", "u001"]]
    assert duplicates(dataset.select([1])) == []
    assert duplicates(of_rows([{}, {}])) == []


def test_recordings_that_cannot_be_read(tmp_path):
    gone = tmp_path / "gone.wav"
    splits = of_splits(train=[{"audio": gone}], test=[{"audio": b"x"}])
    assert leakage(splits, audio=False).kinds == ("id", "speaker", "dialog", "text")
    with pytest.raises(AudioError, match="gone.wav: cannot be read .No such file"):
        leakage(splits)
    with pytest.raises(AudioError, match="audio given as bytes: is empty"):
        duplicates(of_rows([{"audio": b""}]))
    with pytest.raises(AudioError, match="empty.wav: is empty"):
        duplicates(of_rows([{"audio": write(tmp_path, empty=b"")["empty"]}]))
    with pytest.raises(AudioError, match="cannot be read"):
        duplicates(of_rows([{"audio": tmp_path}, {"audio": tmp_path}]))
    with pytest.raises(ColumnError, match="`audio` holds string, not recordings: use `dataset.cast_column"):
        duplicates(Dataset.from_dict({"id": ["a"], "audio": ["a.wav"]}))


def test_drop_takes_from_train_first_and_says_so(caplog):
    splits = of_splits(
        train=[{"speaker": "a"}, {"speaker": "b"}, {"speaker": "c"}, {"speaker": "d"}],
        validation=[{"speaker": "b"}, {"speaker": "c", "dialog": "d"}, {"speaker": "e"}],
        test=[{"speaker": "a"}, {"dialog": "d"}],
    )
    with caplog.at_level(logging.WARNING):
        dropped = drop(splits)
    assert {name: split["id"][:] for name, split in dropped.items()} == {
        "train": ["u002", "u003"],  # c trains on: the one that validated is gone
        "validation": ["u004", "u006"],
        "test": ["u007", "u008"],
    }
    assert caplog.messages == ["train: dropped 2 of 4 utterances", "validation: dropped 1 of 3 utterances"]
    only_speakers = drop(splits, "speaker", keep=("test", "validation"))
    assert only_speakers["train"]["id"][:] == ["u003"]
    assert len(only_speakers["validation"]) == 3


def test_train_gives_way_in_any_order_of_splits():
    splits = of_splits(validation=[{"speaker": "a"}], test=[{}], train=[{"speaker": "a"}, {"speaker": "b"}])
    assert {name: len(split) for name, split in drop(splits).items()} == {"validation": 1, "test": 1, "train": 1}


def test_drop_refusals():
    splits = of_splits(train=[{"speaker": "a"}], test=[{"speaker": "a"}])
    with pytest.raises(CorpusError, match="nothing would be left of 'train', all its 1 utterances"):
        drop(splits)
    with pytest.raises(CorpusError, match="`keep`: there is no split 'tset'. Did you mean 'test'"):
        drop(splits, keep="tset")
    with pytest.raises(CorpusError, match="the report of other splits, with the rows {'train': 1, 'test': 1}"):
        drop(of_splits(train=[{}, {}], test=[{}]), leakage(splits))


def test_leakage_refusals():
    splits = of_splits(train=[{}], test=[{}])
    with pytest.raises(ColumnError, match="`splits` must be a DatasetDict of two splits or more, not Dataset"):
        leakage(splits["train"])
    with pytest.raises(ColumnError, match=r"`splits\['train'\]` has no column 'speakr'. Did you mean 'speaker'"):
        leakage(splits, kinds="speakr")


def clusters(count, size):
    """Speakers of `size` rows each."""
    return of_rows([{"speaker": f"s{number // size}"} for number in range(count * size)])


def test_regroup_reaches_the_sizes():
    sizes = {name: len(split) for name, split in regroup(clusters(50, 4), by="speaker").items()}
    assert sizes == {"train": 120, "validation": 40, "test": 40}
    halves = regroup(clusters(50, 4), by="speaker", sizes={"train": 0.5, "test": 0.5}, seed=3)
    assert {name: len(split) for name, split in halves.items()} == {"train": 100, "test": 100}


def test_regroup_keeps_the_order_of_the_corpus_and_names_the_splits():
    splits = regroup(clusters(9, 3), by="speaker")
    assert all(split["id"][:] == sorted(split["id"]) for split in splits.values())
    assert [str(split.split) for split in splits.values()] == list(SPLITS)


def test_regroup_draws_by_seed():
    drawn = {tuple(regroup(clusters(10, 2), by="speaker", seed=seed)["test"]["id"]) for seed in range(8)}
    assert len(drawn) > 4


def test_large_groups_may_test_too():
    sizes = [3, 3, 2, *[1] * 12]
    rows = [{"speaker": f"s{number}"} for number, size in enumerate(sizes) for _ in range(size)]
    tested = [set(regroup(of_rows(rows), by="speaker", seed=seed)["test"]["speaker"]) for seed in range(20)]
    assert any("s0" in speakers for speakers in tested)


def test_regroup_follows_chains():
    chain = [{"speaker": "a", "dialog": "d1"}, {"speaker": "b", "dialog": "d1"}, {"speaker": "b", "text": LINES[0]}]
    chain += [{"speaker": "c", "text": LINES[1], "audio": b"x"}, {"speaker": "d", "audio": b"x"}]
    alone = [{"speaker": f"s{number}"} for number in range(10)]
    splits = regroup(of_rows(chain + alone), sizes={"train": 0.5, "test": 0.5})
    assert sum({"u000", "u001", "u002", "u003", "u004"} <= set(split["id"]) for split in splits.values()) == 1


def test_folds_of_groups_test_everybody_once():
    dataset = clusters(20, 3)
    made = [regroup(dataset, by=("speaker", "dialog"), fold=fold, folds=4) for fold in range(1, 5)]
    assert sorted(id for splits in made for id in splits["test"]["id"]) == dataset["id"][:]
    assert [len(splits["test"]) for splits in made] == [15] * 4
    for splits, following in zip(made, [*made[1:], made[0]], strict=True):
        assert leakage(splits).clean
        assert splits["validation"]["id"][:] == following["test"]["id"][:]


def test_regroup_refuses_what_hangs_together():
    rows = [{"speaker": f"s{number % 6}", "text": LINES[0] if number < 10 else None} for number in range(12)]
    message = (
        "`by`: 12 of 12 utterances hang together, so that 'validation' would get 0 where about 2 are wanted. "
        "Still together would be: without 'speaker' 10, without 'text' 2"
    )
    with pytest.raises(CorpusError, match=message):
        regroup(of_rows(rows), by=("speaker", "text"))
    assert len(regroup(of_rows(rows), by="speaker")["test"]) == 2


def test_regroup_refuses_a_split_far_from_its_size():
    rows = [{"speaker": "a"}] * 96 + [{"speaker": f"s{number}"} for number in range(4)]
    with pytest.raises(CorpusError, match="96 of 100 utterances hang together, so that 'validation' would get"):
        regroup(of_rows(rows), by="speaker")


def test_regroup_warns_of_unknown_speakers():
    rows = [{"speaker": name} for name in [*"abcdefgh", "Unknown", None]]
    with pytest.warns(LeakageWarning, match="2 of 10 utterances are of unknown speakers: may be anyone"):
        regroup(of_rows(rows))


def test_regroup_refusals():
    dataset = clusters(10, 1)
    for sizes in ({"train": 0.6, "test": 0.6}, {"train": 1.0, "test": 0.0}, {}):
        with pytest.raises(CorpusError, match="`sizes` must be positive shares that add up to 1"):
            regroup(dataset, sizes=sizes)
    with pytest.raises(CorpusError, match="`sizes` and `fold` cannot both be given"):
        regroup(dataset, sizes={"train": 0.5, "test": 0.5}, fold=1)
    with pytest.raises(CorpusError, match="`fold` must be from 1 to 5, not 6"):
        regroup(dataset, fold=6)
    with pytest.raises(CorpusError, match="`folds` must be at least 3"):
        regroup(dataset, fold=1, folds=2)
    with pytest.raises(ColumnError, match="no column 'sesion'"):
        regroup(dataset, by="sesion")


@pytest.fixture(scope="module")
def toy_corpus(toy_root):
    """The toy corpus, where the first turn of every scripted dialog is the same line, as in IEMOCAP's scripts."""
    whole = datasets.concatenate_datasets(list(dime_hf.load_dataset("iemocap", data_dir=toy_root).values()))
    scripted = re.compile(r"script01_1_F000$")
    texts = [
        "What was that, Chris? [LAUGHTER]" if scripted.search(id) else text
        for id, text in zip(whole["id"], whole["text"], strict=True)
    ]
    return whole.remove_columns("text").add_column("text", texts)


def test_scripted_lines_of_a_session_left_out(toy_corpus):
    splits = leave_one_out(toy_corpus, by="session", test="session2")
    report = leakage(splits)
    assert shared_text(report) == {pair: ["what was that chris"] for pair in itertools.combinations(SPLITS, 2)}
    assert all(
        "script" in id for leak in report.leaks for pair in leak.shared.values() for id in itertools.chain(*pair)
    )
    dropped = drop(splits, report)
    assert leakage(dropped).clean
    assert {name: len(splits[name]) - len(dropped[name]) for name in splits} == {
        "train": 6,
        "validation": 2,
        "test": 0,
    }


def test_partners_of_a_speaker_left_out(toy_corpus):
    report = leakage(folds(toy_corpus, by="speaker", fold=1), audio=False)
    assert report.count("speaker", "train", "test") == 0
    assert report.count("dialog", "train", "test") > 0


def test_toy_sessions_regrouped(toy_corpus):
    splits = regroup(toy_corpus, by=("speaker", "dialog", "audio"))
    sessions = [set(split["session"]) for split in splits.values()]
    assert [len(own) for own in sessions] == [3, 1, 1]
    assert len(set().union(*sessions)) == 5
    assert {leak.kind for leak in leakage(splits).leaks} == {"text"}
    with pytest.raises(CorpusError, match=f"{len(toy_corpus)} of {len(toy_corpus)} utterances hang together"):
        regroup(toy_corpus)


def test_recordings_copied_under_another_name(toy_corpus, tmp_path):
    cells = toy_corpus.cast_column("audio", Audio(decode=False))["audio"][:3]
    copies = [tmp_path / f"copy{number}.wav" for number in range(3)]
    for cell, copy in zip(cells, copies, strict=True):
        shutil.copy(cell["path"], copy)
    train = of_rows([{"audio": cell["path"]} for cell in toy_corpus["audio"]])
    splits = DatasetDict(train=train, test=of_rows([{"audio": copy} for copy in copies], start=len(train)))
    assert leakage(splits).count("audio", "train", "test") == 3
    dropped = drop(splits)
    assert leakage(dropped).clean
    assert len(dropped["train"]) == len(train) - 3
    assert duplicates(toy_corpus) == []
    rng = np.random.default_rng(0)
    assert duplicates(
        datasets.concatenate_datasets(list(splits.values())).select(rng.permutation(len(train) + 3))
    ) == [[f"u{number:03}", f"u{len(train) + number:03}"] for number in range(3)]
