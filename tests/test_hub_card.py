"""Cards of datasets: what they say is what happened, and no text of a user breaks them."""

import dataclasses

import datasets
import pytest
from huggingface_hub import DatasetCard
from hypothesis import given, settings
from hypothesis import strategies as st

import dime_hf
from dime_hf import DimeAug, cross_pool, get_pooler, hold_out_votes
from dime_hf.annotate import AnswerStore, annotate
from dime_hf.annotate.annotator import failed
from dime_hf.augment import augment
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.errors import ColumnError, StoreError
from dime_hf.hub import dataset_card, push_to_hub
from dime_hf.hub.card import fill_head, plain
from dime_hf.hub.share import shared
from dime_hf.protocol import score_labels
from tests.test_annotate import Teller


@dataclasses.dataclass
class Described(Teller):
    """A teller that says what it is, and fails in two ways."""

    proxy: str = "tiny|model/plain"

    def describe(self):
        return {self.proxy: {"model": "tiny", "revision": "0123abcd", "prompt": "Name the emotion."}}

    def about(self, id):
        if id in self.fails[:1]:
            return failed(self.proxy, range(4), "no answer within 60 s", "timeout")
        answer = super().about(id)
        return answer | {"error": answer["error"] or "a note, which is no failure"}


@pytest.fixture(scope="module")
def annotated(toy_fold, tmp_path_factory):
    """The training split with answers of two proxies, and their store."""
    path = tmp_path_factory.mktemp("card") / "answers.sqlite"
    train = toy_fold["train"]
    with AnswerStore(path) as store:
        answered = annotate(train, Described(fails=tuple(train["id"][:3])), store)
        return annotate(answered, Teller(fingerprint="second", proxy="other"), store), path


@pytest.fixture(scope="module")
def made(annotated):
    """Answers pooled, and new rows."""
    pooled = cross_pool(annotated[0], get_pooler("fitted"), folds=2)
    plan = DimeAug(target="uniform", operations=("perturb",), seed=1).plan(pooled)
    return augment(pooled, plan, lazy=True)


def card_of(split, include=(), **facts):
    return dataset_card({"train": split}, {"train": shared(split, include)}, repo="user/labels", **facts)


def rows_of(card, section):
    """The rows of the table in a section, without its head."""
    lines = card.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][1:]


def test_a_card_counts_answers_failures_sources_and_new_rows(made, annotated):
    card = card_of(made)
    real = [row for row in made.with_format(None) if not row["parents"]]
    new = len(made) - len(real)
    assert new > 0
    assert rows_of(card, "Proxies") == [
        ["---", "---", "---", "---"],
        ["other", str(len(real)), "1", "0"],
        ["tiny\\|model/plain", str(len(real) - 3), "1", "2 model, 1 timeout"],
    ]
    sources = {source: int(rows) for _, source, rows in rows_of(card, "Labels")[1:]}
    expected = {}
    for source in made.with_format(None)["soft_label_source"]:
        expected[source] = expected.get(source, 0) + 1
    assert sources == expected
    assert len([source for source in sources if source.startswith("fitted(s0=")]) == 2
    assert sources["dime_aug"] == new
    assert rows_of(card, "DiME-Aug")[1:] == [["train", "perturb (balance)", str(new)]]
    assert "Real rows have the same `id`" in card
    assert "were not told: `push_to_hub(..., store=...)`" in card
    assert card_of(made) == card
    assert annotated[0].info.license == TOY_LICENCE
    assert f"Of the corpus: {TOY_LICENCE}." in card


def test_a_store_tells_models_revisions_and_prompts(annotated):
    split, store = annotated
    card = card_of(split, store=store)
    assert "revision: 0123abcd" in card
    assert "prompt: Name the emotion." in card
    assert "were not told" not in card
    assert "| tiny\\|model/plain | 68 | 68 | 2 model, 1 timeout |" in card
    assert "DiME-Aug" not in card
    with pytest.raises(StoreError, match="no answer store"):
        push_to_hub(split, "tester/never", store=store.with_name("other.sqlite"))


def test_scores_stand_in_the_card_as_they_are(toy_fold):
    judged = hold_out_votes(toy_fold["test"], keep=2)
    table = score_labels({"human": judged, "prior": cross_pool(judged, get_pooler("prior"))}, judged, control="prior")
    card = dataset_card({"test": judged}, {"test": shared(judged, ())}, repo="user/labels", scores=table)
    assert str(table) in card
    assert "lower is better" in card
    assert "## Scores" not in card_of(toy_fold["test"])


def test_what_is_in_the_repository_is_told_and_what_is_not(toy_fold):
    split = toy_fold["test"]
    here, lacking = contents(card_of(split))
    assert {"id", "corpus", "duration", "soft_label"} <= here
    assert {"audio", "text", "human_votes", "vote_counts", "hard_label", "speaker"} <= lacking
    here, lacking = contents(card_of(split, ["votes", "audio"]))
    assert {"audio", "human_votes", "vote_counts", "hard_label"} <= here
    assert "text" in lacking
    assert "They are in the column `audio`" in card_of(split, ["audio"])
    unknown = datasets.Dataset.from_dict(
        {name: split[name][:] for name in ("id", "soft_label", "hard_label")},
        features=datasets.Features({name: split.features[name] for name in ("id", "soft_label", "hard_label")}),
    )
    card = card_of(unknown)
    assert 'attach_audio(labels, data_dir="the folder of the corpus", corpus="the corpus")' in card
    assert "How the votes were counted is not known." in card


def contents(card):
    lines = [card.split(start)[1].splitlines()[0] for start in ("\nHere: ", "\nNot here: ")]
    return [set(line.split(" (")[0].rstrip(".").replace("`", "").split(", ")) for line in lines]


def test_labels_of_several_corpora_are_told_apart(toy_fold):
    parts = {name: toy_fold[name] for name in ("train", "test")}
    joined = dime_hf.join(parts, ratings="drop")
    card = card_of(joined)
    assert "data_dir={'test': 'folder of test', 'train': 'folder of train'}" in card
    assert f"train: {TOY_LICENCE}; test: {TOY_LICENCE}" in card


def test_the_head_is_what_the_hub_knows(toy_fold):
    card = DatasetCard("---\ntags: [mine]\n---\n")
    fill_head(card, toy_fold)
    assert card.data.to_dict() == {
        "license": "other",
        "license_name": "see-the-card",
        "tags": ["mine", "dime_hf", "speech-emotion-recognition", "soft-labels"],
        "task_categories": ["audio-classification"],
        "size_categories": ["n<1K"],
    }
    free = toy_fold["test"].select(range(2))
    free.info.license = "ODbL 1.0, contents DbCL 1.0"
    fill_head(card, {"all": free})
    assert "license_name" not in card.data.to_dict()
    assert card.data.license == "odbl"


@settings(max_examples=60, deadline=None)
@given(st.text(alphabet="a b|\\`*<#+-\n\u2028é[]", max_size=20))
def test_text_of_users_stays_one_cell_of_a_table(text):
    cell = plain(text)
    assert "\n" not in cell
    assert "<" not in cell
    bare = cell.replace("\\\\", "")
    assert bare.count("|") == bare.count("\\|")
    assert not cell.startswith(("#", "- ", "+"))


def test_recordings_that_are_made_when_read_cannot_be_shared(made):
    with pytest.raises(ColumnError, match="lazy=False"):
        push_to_hub(made, "tester/never", include=["audio"])
