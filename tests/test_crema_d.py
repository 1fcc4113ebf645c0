"""CREMA-D: the published counts of its real votes, its responses on synthetic ones, and damage to its files."""

import collections
import csv
import random

import datasets
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf.corpora.crema_d import CODES, CremaDFolder
from dime_hf.errors import CorpusError, LabelFileError
from tests.fuzz import crema_d as synthetic


def load(root, modality="voice", **arguments):
    return dime_hf.load_dataset("crema_d", modality, root, "train", labels_only=True, **arguments)


@pytest.mark.parametrize(
    ("modality", "votes", "fewest", "mean", "ties", "mass"),
    [  # mass in the order of the classes: angry happy neutral sad fear disgust
        ("voice", 68_568, 4, 9.214, 644, [9863, 4590, 30152, 6900, 8212, 8851]),
        ("face", 71_654, 6, 9.628, 470, [10005, 12152, 18628, 9292, 9149, 12428]),
        ("audiovisual", 71_778, 5, 9.645, 420, [10220, 11139, 18688, 7685, 11849, 12197]),
    ],
)
def test_the_published_counts(crema_d, modality, votes, fewest, mean, ties, mass):
    clips = load(crema_d, modality)
    counts = np.asarray(clips["vote_counts"])
    assert len(clips) == 7442
    assert clips.features["hard_label"].names == ["angry", "happy", "neutral", "sad", "fear", "disgust"]
    assert counts.sum(0).tolist() == mass
    assert (counts.sum(), counts.sum(-1).min(), counts.sum(-1).max()) == (votes, fewest, 12)
    assert counts.sum(-1).mean() == pytest.approx(mean, abs=5e-4)
    assert sum(label is None for label in clips["hard_label"]) == ties
    assert len(set(clips["speaker"])) == 91
    assert sum(len(row) for row in clips["human_votes"]) == votes
    assert collections.Counter(clips["intended_level"]) == {None: 6077, "low": 455, "medium": 455, "high": 455}
    assert collections.Counter(clips["intended_emotion"])["neutral"] == 1087


def test_the_voice_is_heard_as_neutral(crema_d):
    clips = load(crema_d)
    assert collections.Counter(clips["hard_label"])[clips.features["hard_label"].names.index("neutral")] == 3897


def test_what_is_known_of_the_actors(crema_d):
    clips = load(crema_d)
    actors = {row["speaker"]: row for row in clips}
    assert collections.Counter(row["gender"] for row in actors.values()) == {"male": 48, "female": 43}
    assert [actors["1001"][name] for name in ("age", "race", "ethnicity")] == [51, "Caucasian", "Not Hispanic"]
    assert collections.Counter(row["race"] for row in actors.values())["African American"] == 22
    assert None not in clips["age"]


def test_clips(crema_d, caplog):
    clips = dime_hf.load_dataset(
        "crema_d", data_dir=crema_d, split="train", missing_audio="drop", download_mode="force_redownload"
    )
    assert len(clips) == 12
    assert "7,430 of 7,442 utterances have no recording" in caplog.text
    row = clips.filter(lambda id: id == "1001_DFA_ANG_XX", input_columns="id")[0]
    assert (row["text"], row["speaker"], row["gender"]) == ("Don't forget a jacket.", "1001", "male")
    assert (row["intended_emotion"], row["intended_level"]) == ("angry", None)
    assert 1 < row["duration"] < 5
    with open(crema_d / "VideoDemographics.csv") as file:
        men = {actor["ActorID"] for actor in csv.DictReader(file) if actor["Sex"] == "Male"}
    assert {row["speaker"] for row in clips if row["gender"] == "male"} == men & set(clips["speaker"])


def test_damage(crema_d, tmp_path):
    root = tmp_path / "crema"
    (root / "processedResults").mkdir(parents=True)
    lines = (crema_d / "processedResults/tabulatedVotes.csv").read_text().splitlines()[:4]
    table = root / "processedResults" / "tabulatedVotes.csv"
    table.write_text("\n".join(lines))
    (root / "AudioWAV").mkdir()
    (root / "AudioWAV" / "1001_IEO_NEU_XX.wav").write_bytes(
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
    )
    (root / "AudioWAV" / "1001_IEO_HAP_LO.wav").write_bytes(b"")
    clips = dime_hf.load_dataset("crema_d", data_dir=root, split="train")
    assert clips["audio"][:] == [None] * 3
    real = (crema_d / "AudioWAV" / "1001_DFA_ANG_XX.wav").read_bytes()
    (root / "AudioWAV" / "1001_IEO_NEU_XX.wav").write_bytes(real)  # as `git lfs pull` may do, in place
    fetched = dime_hf.load_dataset("crema_d", data_dir=root, split="train")
    assert [cell is None for cell in fetched["audio"]] == [False, True, True]
    assert clips["gender"][:] == [None] * 3
    table.write_text("\n".join([*lines, '"100005",0,0']))
    with pytest.raises(LabelFileError, match="line 5: expected 27 cells"):
        dime_hf.load_dataset("crema_d", data_dir=root)
    table.write_text("\n".join(lines).replace("1001_IEO_HAP_LO", "1001_IEO_JOY_LO"))
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as raised:
        dime_hf.load_dataset("crema_d", data_dir=root)
    assert "line 3" in str(raised.value.__cause__)
    (root / "AudioWAV" / "1001_IEO_HAP_LO.wav").write_bytes(b"this is no sound, though it is long enough to be one")
    table.write_text("\n".join(lines))
    with pytest.raises(datasets.exceptions.DatasetGenerationError) as raised:
        dime_hf.load_dataset("crema_d", data_dir=root)
    assert "1001_IEO_HAP_LO.wav" in str(raised.value.__cause__)


@pytest.fixture
def made(tmp_path):
    """A synthetic corpus with responses."""
    synthetic.write(tmp_path, random.Random(0))
    return tmp_path


def responses(root, responses, modality="voice"):
    """Answers with their annotators, by clip."""
    clips = load(root, modality, responses=responses, rows="all")
    return {
        row["id"]: [(vote["annotator"], CremaDFolder.inventory[vote["choices"][0]]) for vote in row["human_votes"]]
        for row in clips
    }


@pytest.mark.parametrize("modality", ["voice", "face", "audiovisual"])
def test_responses_have_their_annotators(made, modality):
    tabulated, filtered, everything = (
        responses(made, source, modality) for source in ("tabulated", "filtered", "all")
    )
    for clip, votes in tabulated.items():
        assert {annotator for annotator, _ in votes} == {None}
        assert sorted(answer for _, answer in votes) == sorted(answer for _, answer in filtered[clip])
        assert [vote for vote in everything[clip] if vote in filtered[clip]] == filtered[clip]
        assert len({annotator for annotator, _ in everything[clip]}) == len(everything[clip])
    late = sum(map(len, everything.values())) - sum(map(len, filtered.values()))
    digit = {"voice": "1", "face": "2", "audiovisual": "3"}[modality]
    with open(made / synthetic.FIRST_CLICKS) as file:
        assert late == sum(row["queryType"] == digit and int(row["ttr"]) > 10_000 for row in csv.DictReader(file)) > 0
    labels = load(made, modality, responses="filtered")
    assert labels["vote_counts"][:] == load(made, modality)["vote_counts"][:]
    assert labels["hard_label"][:] == load(made, modality)["hard_label"][:]


def test_responses_that_are_not_there(made):
    (made / synthetic.FIRST_CLICKS).unlink()
    assert responses(made, "all")
    with pytest.raises(
        CorpusError, match=r"`responses='filtered'` needs .*finishedEmoResponses.csv, which is missing"
    ):
        load(made, responses="filtered")
    (made / synthetic.RESPONSES).unlink()
    with pytest.raises(CorpusError, match=r"`responses='all'` needs .*finishedResponses.csv, which is missing"):
        load(made, responses="all")
    with pytest.raises(CorpusError, match="`responses` is 'every'. Available: 'tabulated', 'filtered', 'all'"):
        load(made, responses="every")


@pytest.mark.parametrize(
    ("file", "spoilt", "read", "expected"),
    [
        (
            synthetic.RESPONSES,
            '"","localid"',
            '"","rater"',
            r"line 1: expected a header with the columns \['localid'\]",
        ),
        (synthetic.RESPONSES, '"1","', '"2","', "line 3: expected a row name that is not there already"),
        (
            synthetic.RESPONSES,
            ",4321,1,",
            ",4321,4,",
            "line 2: expected .* queryType from 1 to 3, found '1: queryType 4'",
        ),
        (synthetic.RESPONSES, "1001_IEO_NEU_XX", "1001_IEO_NEU_HI", "line 2: expected an annotator, a clip of"),
        (
            synthetic.RESPONSES,
            ",4321,1,0,1,1,",
            ",4321,1,0,1,one,",
            "line .: expected whole numbers, found '1, one, 10000",
        ),
        (synthetic.RESPONSES, ',"A","60"', ',"X","60"', "and an answer out of A D F H N S"),
        (
            synthetic.RESPONSES,
            ',"A","60"',
            ',"D","60"',
            r"finishedResponses.csv.*: to the voice of .*, line \d, counts",
        ),
        (synthetic.RESPONSES, '"2","', '"2,"', "line 3: expected cells in quotes or without"),
        (
            synthetic.FIRST_CLICKS,
            ",12345,",
            ",9345,",
            r"finishedEmoResponses.csv: to the voice of .*, line \d, counts",
        ),
        (synthetic.TABLE, '"100001"', '"200001"', "line 7: expected a row"),
        (synthetic.TABLE, '"100001"', '"00001"', "line 2: expected a row"),
        (synthetic.TABLE, '"200001"', '"100001"', "line 7: expected a row"),
        (synthetic.ACTORS, "Female", "Femal", "line 2: expected another actor's age in years and sex"),
        (synthetic.ACTORS, '"Sex"', '"Gender"', r"line 1: expected a header with the columns \['Sex'\]"),
    ],
)
def test_damaged_files_are_refused(made, file, spoilt, read, expected):
    path = made / file
    assert spoilt in path.read_text()
    path.write_text(path.read_text().replace(spoilt, read, 1))
    folder = CremaDFolder(made, "voice", "filtered")
    with pytest.raises(CorpusError, match=expected):
        list(folder.read(list(folder.groups())))


COUNTS = st.lists(st.integers(0, 12), min_size=6, max_size=6).filter(any)


@settings(max_examples=40, deadline=None)
@given(st.lists(COUNTS, min_size=1, max_size=5), st.sampled_from(["\n", "\r\n"]))
def test_written_counts_are_read(tmp_path_factory, written, line_end):
    root = tmp_path_factory.mktemp("crema")
    rows = [collections.Counter(dict(zip(CODES, counts, strict=True))) for counts in written]
    lines = [
        synthetic.row(modality, number, clip, counts)
        for modality in "123"
        for number, (clip, counts) in enumerate(zip(synthetic.CLIPS, rows, strict=False), start=1)
    ]
    (root / "processedResults").mkdir()
    (root / synthetic.TABLE).write_bytes(line_end.join([synthetic.TABLE_HEADER, *lines]).encode())
    folder = CremaDFolder(root, "face")
    (block,) = folder.read(list(folder.groups()))
    for official, votes, counts in zip(block.official, block.votes, rows, strict=True):
        assert collections.Counter(vote.choices[0] for vote in votes) == {
            CODES[code]: counts[code] for code in +counts
        }
        (code, most), *others = counts.most_common()
        assert official == (None if others[0][1] == most else CODES[code])
