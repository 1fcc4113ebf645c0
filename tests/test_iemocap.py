"""IEMOCAP: the published counts on a corpus of full size, and every irregularity of its files."""

import collections
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf import VotePolicy
from dime_hf.corpora.iemocap import (
    CODES,
    FIVE_CLASSES,
    FOUR_CLASSES,
    LABELS,
    IemocapFolder,
    read_dialog,
    read_evaluation,
    read_transcripts,
)
from dime_hf.errors import CorpusError, LabelFileError
from tests import full_iemocap

DIALOG = "Ses01F_impro01"
HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
TURN = f"""[6.2901 - 8.2357]\t{DIALOG}_F000\tneu\t[2.5000, 2.5000, 2.5000]
C-E2:\tNeutral;\t()
C-E3:\tNeutral; Anger;\t(annoyed)
C-F1:\tNeutral state;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()
A-F1:\tval 1; act 1; dom  1;\t()
"""
OTHER_TURN = f"""[10.0100 - 11.3925]\t{DIALOG}_M000\txxx\t[2.5000, 2.5000, 2.5000]
C-E2:\tExcited;\t()
C-E3:\tSadness;\t()
"""


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The corpus of full size, without recordings."""
    return full_iemocap.write(tmp_path_factory.mktemp("full") / "IEMOCAP_full_release")


@pytest.fixture(scope="module")
def everything(full):
    """All of its turns under all of its classes."""
    return load(full, "10class", rows="all")


@pytest.fixture(scope="module")
def turns(everything):
    return [row for split in everything.values() for row in split]


def load(root, name=None, **arguments):
    return dime_hf.load_dataset("iemocap", name, root, labels_only=True, **arguments)


def size(splits):
    return sum(map(len, splits.values()))


def decided(splits):
    """Turns by official class."""
    names = splits["session1"].features["hard_label"].names
    counts = collections.Counter(label for split in splits.values() for label in split["hard_label"])
    return {None if label is None else names[label]: count for label, count in counts.items()}


def external(row):
    return [vote for vote in row["human_votes"] if vote["kind"] == "external"]


def test_every_turn_and_its_official_label(everything, turns):
    assert [len(split) for split in everything.values()] == [1819, 1811, 2136, 2103, 2170]
    for (_, split), counts in zip(everything.items(), full_iemocap.OFFICIAL.values(), strict=True):
        names = [CODES.get(code) for code in full_iemocap.CODE_NAMES]
        expected = {name: count for name, count in zip(names, counts, strict=True) if count}
        assert decided({"session1": split}) == expected
    speakers = collections.Counter(row["speaker"] for row in turns)
    assert list(speakers.values()) == [873, 946, 859, 952, 1048, 1088, 987, 1116, 1033, 1137]
    dialogs = {row["dialog"] for row in turns}
    assert len(dialogs) == 151
    assert {"Ses03M_impro05a", "Ses03M_impro08b", "Ses05M_script01_1b"} <= dialogs
    assert sum("impro" in row["dialog"] for row in turns) == 4784
    assert all(row["text"] == f"Words of {row['id']}." for row in turns)  # none of back-channels or FXX turns


def test_the_official_labels_follow_from_the_votes(full, everything):
    computed = load(full, "10class", rows="all", vote_policy=VotePolicy(merge="before"))
    assert decided(computed) == decided(everything)
    assert all(computed[name]["hard_label"][:] == everything[name]["hard_label"][:] for name in everything)


def test_every_vote(turns):
    names = IemocapFolder.inventory
    ticks = collections.Counter(names[c] for row in turns for vote in external(row) for c in vote["choices"])
    assert ticks == {
        "frustrated": 7514, "neutral": 6406, "angry": 4433, "excited": 4365, "sad": 3694, "happy": 3076, "other": 783,
        "surprise": 658, "fear": 348, "disgust": 137,
    }  # fmt: skip
    assert sum(ticks.values()) == sum(row["soft_label_votes"] for row in turns) == 31_414
    votes = [vote for row in turns for vote in external(row)]
    assert collections.Counter(len(vote["choices"]) for vote in votes) == {1: 28_845, 2: 1248, 3: 23, 4: 1}
    several = collections.Counter(vote["annotator"] for vote in votes if len(vote["choices"]) > 1)
    assert several == {"E1": 245, "E2": 67, "E3": 97, "E4": 712, "E5": 65, "E6": 86}
    trios = collections.Counter(" ".join(vote["annotator"] for vote in external(row)) for row in turns)
    assert trios == {"E1 E2 E4": 7929, "E1 E2 E6": 1215, "E1 E4 E5": 546, "E2 E3 E4": 244, "E1 E3 E4": 105}
    assert sum(len(row["human_votes"]) for row in turns) == 30_117 + 2409


def test_agreement(turns):
    names = IemocapFolder.inventory
    counts = np.array([row["vote_counts"] for row in turns])
    totals, top = counts.sum(-1), counts.max(-1)
    tied = (counts == top[:, None]).sum(-1) > 1
    assert collections.Counter(totals.tolist()) == {3: 8853, 4: 1081, 5: 99, 6: 6}
    assert [((top == 3) & ~tied).sum(), ((top == 2) & ~tied).sum()] == [2383, 5149]
    assert [((top == 2) & tied).sum(), (top == 1).sum()] == [298, 2209]
    assert ((counts > 0).sum(-1) == 1).sum() == 1903
    assert (2 * top <= totals).sum() == 2852  # no label has more than half of the ticks
    shares = np.array([row["soft_label"] for row in turns])
    entropy = -np.sum(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares)), axis=-1)
    assert entropy.mean() == pytest.approx(0.6346, abs=5e-5)
    other = counts[:, names.index("other")]
    assert (other > 0).sum() == 779
    assert ((totals - other) == 1).sum() == 2
    assert ((totals - other) == 0).sum() == 0


def test_one_vote_an_evaluator(full):
    policy = VotePolicy(several_choices="split")
    split = load(full, "10class", rows="all", vote_policy=policy)
    shares = np.concatenate([split[name]["soft_label"] for name in split])
    entropy = -np.sum(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares)), axis=-1)
    assert entropy.mean() == pytest.approx(0.6266, abs=5e-5)
    whole = load(full, "10class", rows="all")
    differ = sum(
        a != b for name in whole for a, b in zip(whole[name]["hard_label"], split[name]["hard_label"], strict=True)
    )
    assert differ == 30


@pytest.mark.parametrize(
    ("name", "rows", "count"),
    [
        ("4class", "decided", 5531),
        ("4class", "voted", 9369),
        ("4class", "all", 10_039),
        ("4class_pure", "decided", 4490),
        ("5class", "decided", 7532),
        ("5class", "voted", 10_039),
        ("6class", "decided", 7380),
        ("9class", "decided", 7529),
        ("9class", "voted", 10_039),
        ("10class", "decided", 7532),
    ],
)
def test_label_sets_and_rows(full, name, rows, count):
    assert size(load(full, name, rows=rows)) == count


def test_the_usual_four_classes(full):
    usual = load(full, rows="decided")
    assert [len(split) for split in usual.values()] == [1085, 1023, 1151, 1031, 1241]
    assert decided(usual) == {"angry": 1103, "happy": 1636, "neutral": 1708, "sad": 1084}
    ids = {row["id"] for split in usual.values() for row in split}
    whole = load(full, "10class", rows="all")
    inside = [IemocapFolder.inventory.index(name) for names in FOUR_CLASSES.values() for name in names]
    votes = {row["id"]: np.array(row["vote_counts"]) for split in whole.values() for row in split}
    outside = sum(votes[id].sum() > votes[id][inside].sum() for id in ids)
    assert outside == 2042
    assert decided(load(full, "5class", rows="decided"))["other"] == 1849 + 40 + 107 + 2 + 3


def test_merging_before_the_plurality(full):
    label_set = {**FOUR_CLASSES, **{name: [name] for name in FIVE_CLASSES["other"]}}
    merged = decided(load(full, label_set=label_set, rows="all", vote_policy=VotePolicy(merge="before")))
    assert {name: merged[name] for name in ("happy", "neutral", "angry", "sad", "frustrated", None)} == {
        "happy": 2439, "neutral": 1707, "angry": 1103, "sad": 1083, "frustrated": 1849, None: 1710,
    }  # fmt: skip


def test_missing_ratings_are_no_numbers(turns):
    by_id = {row["id"]: row for row in turns}
    for scale, mean in zip(("valence", "activation", "dominance"), full_iemocap.MEAN_RATINGS, strict=True):
        assert np.mean([row[f"released_{scale}"] for row in turns]) == pytest.approx(mean, abs=5e-5)
    differ = [row["id"] for row in turns if abs(row["dominance"] - row["released_dominance"]) > 1e-3]
    assert set(differ) == full_iemocap.RATING_MISSING | full_iemocap.DOMINANCE_MISSING
    assert len(differ) == 36
    assert max(row["valence"] for row in turns) <= 5
    assert [row["id"] for row in turns if row["released_valence"] == 5.5] == full_iemocap.BEYOND_THE_SCALE
    row = by_id["Ses03M_impro07_M003"]
    assert (row["valence"], row["activation"], row["dominance"], row["released_dominance"]) == (5, 3, 3, 1.5)


def test_emo_superb_labels(full, turns):
    rows = load(full, "9class", vote_policy="emo_superb")["session1"]
    row = next(row for row in rows if row["human_votes"][-1]["kind"] == "self")
    ticks = [IemocapFolder.inventory[c] for vote in row["human_votes"] for c in vote["choices"]]
    ticks = [name for name in ticks if name != "other"]
    expected = [
        0.05 / 8 + ticks.count(name) / len(ticks) * (1 - 0.05 - 0.05 / 8) for name in rows.features["hard_label"].names
    ]
    np.testing.assert_allclose(row["soft_label"], expected, atol=1e-6)
    blank = next(row for row in turns if row["id"] == full_iemocap.BLANK_LABELS[0])["human_votes"][-1]
    assert [IemocapFolder.inventory[c] for c in blank["choices"]] == ["other"]


def test_recordings_are_found_where_they_are(tmp_path):
    root = full_iemocap.write(tmp_path / "IEMOCAP", recordings=True)
    row = dime_hf.load_dataset("iemocap", data_dir=tmp_path, split="session5")[0]  # one level down
    assert row["audio"]["path"] == f"{root}/Session5/sentences/wav/{row['dialog']}/{row['id']}.wav"


@pytest.fixture
def evaluation(tmp_path):
    """The evaluation file of a dialog; its tests write it."""
    folder = tmp_path / "Session1/dialog/EmoEvaluation"
    folder.mkdir(parents=True)
    (folder.parent / "transcriptions").mkdir()
    return folder / f"{DIALOG}.txt"


def votes(path):
    return [
        [(vote.annotator, vote.choices, vote.note) for vote in votes] for votes in read_dialog(path.as_posix()).votes
    ]


@pytest.mark.parametrize(
    ("spoilt", "read"),
    [
        ("\n\n", "\n"),  # no blank line between turns
        ("\n\n", "\n\n\n \n"),
        ("\t", " "),
        ("\t", "    "),
        (":\t", ":"),
        ("\n", "\r\n"),
        ("\n", "\r"),
        ("% [START", "% [Start"),
        (HEADER, ""),
        (HEADER, "\ufeff" + HEADER),
        ("Neutral state;", "Neutral;"),
        ("]\n", "]  \n"),
    ],
)
def test_spoilt_files_have_the_same_votes(evaluation, spoilt, read):
    evaluation.write_text(HEADER + TURN + "\n" + OTHER_TURN)
    straight = read_evaluation(evaluation)
    evaluation.write_bytes((HEADER + TURN + "\n" + OTHER_TURN).replace(spoilt, read).encode())
    assert read_evaluation(evaluation) == straight
    evaluation.write_bytes((HEADER + TURN + "\n" + OTHER_TURN).replace(spoilt, read).removesuffix("\n").encode())
    assert read_evaluation(evaluation) == straight


@pytest.mark.parametrize(
    "comment",
    [
        ":))",
        "(a (b) c",
        ")",
        "say \"no\"; 'yes': 1/2",
        "&quot;duh&quot;",
        "100 % sure",
        "tab\there",
        "Anger",
        "a\x85b",
    ],
)
def test_comments_of_any_punctuation(evaluation, comment):
    for text in (TURN.replace("annoyed", comment), TURN.replace("annoyed", comment).replace("\t", " ")):
        evaluation.write_text(HEADER + text, encoding="utf-8")
        kept = comment if "\t" in text else comment.replace("\t", " ")
        assert votes(evaluation)[0][1] == ("E3", ("neutral", "angry"), kept)
    evaluation.write_bytes((HEADER + TURN.replace("annoyed", "trop énervé")).encode("latin-1"))
    assert votes(evaluation)[0][1][2] == "trop énervé"


@pytest.mark.parametrize(
    ("spoilt", "read", "line", "expected"),
    [
        ("C-E2:\tNeutral;\t()", "C-E2:\t;\t()", 4, "with labels out of"),  # only self votes have been blank
        ("C-E2:\tNeutral;", "C-E7:\tNeutral;", 4, "C-<annotator>"),
        ("Neutral; Anger;", "Neutral; Anger", 5, "C-<annotator>"),
        ("Neutral; Anger;", "Neutral; (Anger;", 5, "C-<annotator>"),
        ("Neutral; Anger;\t(annoyed)", "Neutral; Anger;", 5, "C-<annotator>"),
        ("C-E3:\tNeutral; Anger;", "C-E2:\tNeutral; Anger;", 3, "one vote an annotator"),
        ("A-F1:", "A-E3:", 3, "one vote an annotator"),
        ("A-F1:\tval 1", "A-F1:\tval 7", 8, "A-<annotator>"),
        ("A-F1:\tval 1", "A-F1:\tval 11", 8, "A-<annotator>"),
        ("A-E3", "%-E3", 7, "a turn"),
        ("C-E2:", "%-E2:", 4, "a turn"),
        ("[10.0100", "%10.0100", 10, "a turn"),
        ("[10.0100", "[10..100", 10, "a turn"),
        ("[10.0100", "[12.0100", 10, "ends after its start"),
        ("C-E2:\tExcited;\t()\nC-E3:\tSadness;\t()\n", "", 10, "with lines C-"),
        (f"{DIALOG}_M000", f"{DIALOG}_F000", 10, "another turn"),
        (f"{DIALOG}_M000", "Ses01F_impro02_M000", 10, f"named for, {DIALOG}"),
        (f"{DIALOG}_M000", f"{DIALOG}_MXX0", 10, "a turn"),
        (HEADER + TURN + "\n" + OTHER_TURN, "", 1, "a turn"),
        (HEADER + TURN + "\n" + OTHER_TURN, "\x00" * 40, 1, "a turn"),
        (TURN + "\n" + OTHER_TURN, "", 1, "a turn"),
    ],
)
def test_what_could_lose_a_vote_is_refused(evaluation, spoilt, read, line, expected):
    text = (HEADER + TURN + "\n" + OTHER_TURN).replace(spoilt, read)
    evaluation.write_text(text)
    with pytest.raises(
        LabelFileError, match=rf"{DIALOG}\.txt, line {line}: expected .*{expected}.*, found '"
    ) as raised:
        read_evaluation(evaluation)
    assert repr(text.split("\n")[line - 1]) in str(raised.value)


def test_transcripts(evaluation):
    transcript = evaluation.parent.parent / "transcriptions" / evaluation.name
    evaluation.write_text(HEADER + TURN + "\n" + OTHER_TURN)
    lines = [
        f"{DIALOG}_M000 [010.0100-011.3925]: [LAUGHTER] Yes: no.",
        "M: Yeah.",
        "F:[LAUGHTER]",
        "F :Here you go.",
        f"{DIALOG}_FXX3 [012.0000-013.0000]: what",
        f"{DIALOG}_FXX3 [014.0000-015.0000]: what else",
        f"{DIALOG}_F000 [006.2901-008.2357]: Voil\xe0.",
    ]
    transcript.write_bytes("\r\n".join(lines).encode("latin-1"))
    assert read_dialog(evaluation.as_posix()).fields["text"] == ["Voil\xe0.", "[LAUGHTER] Yes: no."]
    for damaged, number in (
        (lines[0].replace("[010", "010"), 1),
        (lines[0].replace("M000", "M0O0"), 1),
        (lines[0].replace("M000", "F000"), 7),
    ):
        transcript.write_text("\n".join([damaged, *lines[1:]]))
        with pytest.raises(LabelFileError, match=rf"transcriptions/{DIALOG}\.txt, line {number}: expected 'turn "):
            read_transcripts(transcript.as_posix())
    transcript.write_text(f"{DIALOG}_F001 [020.0000-021.0000]: a turn that the evaluations lost\n")
    with pytest.raises(CorpusError, match=rf"EmoEvaluation/{DIALOG}\.txt: the turn {DIALOG}_F001 is missing"):
        read_dialog(evaluation.as_posix())


def test_a_dialog_in_the_folder_of_another_session_is_refused(evaluation):
    session2 = evaluation.parents[3] / "Session2/dialog/EmoEvaluation"
    session2.mkdir(parents=True)
    evaluation.write_text(HEADER + TURN)
    misplaced = evaluation.rename(session2 / evaluation.name)
    with pytest.raises(CorpusError, match=r"a dialog of another session lies in the folder of session2"):
        read_dialog(misplaced.as_posix())


LABEL = st.sampled_from(sorted(LABELS))
COMMENT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20).filter(
    lambda comment: not re.search(f"({'|'.join(LABELS)});", comment)
)
VOTE = st.tuples(st.lists(LABEL, min_size=1, max_size=4, unique_by=LABELS.get), COMMENT)
EXTERNAL_VOTES = st.dictionaries(st.sampled_from([f"E{n}" for n in range(1, 7)]), VOTE, min_size=1, max_size=6)
SELF_VOTES = st.dictionaries(st.just("F1"), st.tuples(st.lists(LABEL, max_size=2), COMMENT), max_size=1)
RATING = st.sampled_from(["", *"123456"])
RATINGS = st.dictionaries(st.sampled_from(["E1", "E2", "E3", "F1"]), st.tuples(RATING, RATING, RATING), max_size=4)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.tuples(EXTERNAL_VOTES, SELF_VOTES, RATINGS), min_size=1, max_size=4),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["\t", " "]),
)
def test_written_votes_are_read(tmp_path_factory, written, line_end, tab):
    lines = [HEADER.rstrip("\n"), ""]
    for number, (external_votes, self_votes, ratings) in enumerate(written):
        lines.append(f"[{number}.0000 - {number}.5000]\t{DIALOG}_F{number:03}\tneu\t[2.5000, 5.5000, 0.5000]")
        for annotator, (labels, comment) in (external_votes | self_votes).items():
            lines.append(f"C-{annotator}:\t{' '.join(f'{label};' for label in labels) or ';'}\t({comment})")
        for annotator, (valence, activation, dominance) in ratings.items():
            lines.append(f"A-{annotator}:\tval {valence}; act {activation}; dom  {dominance};\t()")
        lines.append("")
    folder = tmp_path_factory.mktemp("dialog") / "Session1/dialog/EmoEvaluation"
    folder.mkdir(parents=True)
    path = folder / f"{DIALOG}.txt"
    path.write_bytes(line_end.join(line.replace("\t", tab) for line in lines).encode())
    expected = [
        [
            (annotator, tuple(LABELS[label] for label in labels), comment.replace("\t", tab))
            for annotator, (labels, comment) in (external_votes | self_votes).items()
        ]
        for external_votes, self_votes, _ in written
    ]
    assert votes(path) == expected
    for (_, _, ratings), valence in zip(written, read_dialog(path.as_posix()).fields["valence"], strict=True):
        valid = [int(values[0]) for rater, values in ratings.items() if rater != "F1" and values[0] not in ("", "6")]
        assert valence == (np.mean(valid) if valid else None)
