"""Model cards: the scores with their control and the truth, whose votes were learnt, and how to use the model."""

import json

import numpy as np
import pytest
from huggingface_hub import ModelCard

from dime_hf import SoftLabelConfig, SoftLabelTrainer, hold_out_votes
from dime_hf.columns import PARENTS, REFERENCE_COUNTS, SOFT_LABEL, SOFT_LABEL_SOURCE, VOTE_COUNTS
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.corpora.policy import TALLY_LINE, Tally
from dime_hf.errors import LeakageError
from tests.test_trainer import EXTRACTOR, tiny_encoder


def trainer_of(training, evaluation, folder, model=None, **settings):
    args = SoftLabelConfig(str(folder), disable_tqdm=True, use_cpu=True, **settings)
    return SoftLabelTrainer(
        model or tiny_encoder(), args, train_dataset=training, eval_dataset=evaluation, processing_class=EXTRACTOR
    )


@pytest.fixture(scope="module")
def judged(toy_fold):
    return hold_out_votes(toy_fold["test"], keep=1)


def written(trainer, **facts):
    trainer.create_model_card(**facts)
    return ModelCard.load(f"{trainer.args.output_dir}/README.md")


def test_a_card_carries_scores_control_truth_and_provenance(toy_fold, judged, tmp_path):
    trainer = trainer_of(toy_fold["train"], judged, tmp_path)
    table = trainer.score_table(judged, name="the test speakers of fold 1")
    assert [row.name for row in table.rows] == ["model", "mean label"]
    assert table.truth
    card = written(trainer, scores=table, model_name="tiny", license="apache-2.0")
    assert str(table) in card.text
    votes = int(np.sum(judged[REFERENCE_COUNTS]))
    assert f"On the test speakers of fold 1: {len(judged)} utterances, {votes} votes that judge" in card.text
    assert "control: mean label" in card.text
    assert "(truth)" in card.text
    assert "clustered by speaker" in card.text
    assert "angry, happy, neutral, sad" in card.text
    assert "top_k=None" in card.text
    assert f"| human | {len(toy_fold['train'])} |" in card.text
    assert "No row was made by augmentation" in card.text
    assert TOY_LICENCE in card.text
    line = next(line for line in card.text.splitlines() if line.startswith("Vote policy and label set: "))
    assert TALLY_LINE + line.split("`")[1] == Tally.read(toy_fold["train"]).describe()
    assert "## Training procedure" in card.text
    assert "learning_rate" in card.text


def test_the_table_by_ambiguity_is_of_the_votes_that_judge_in_levels_of_those_that_do_not(toy_fold, tmp_path):
    judged = hold_out_votes(toy_fold["test"], keep=2)
    trainer = trainer_of(toy_fold["train"], judged, tmp_path)
    table = trainer.score_table(judged)
    reference, kept = np.array(judged[REFERENCE_COUNTS]), np.array(judged[VOTE_COUNTS])
    agreed = kept.max(-1) == kept.sum(-1)  # of two votes: alike, or not
    assert [(level, one.n) for level, one in table.levels.items()] == [
        ("low", agreed.sum()),
        ("high", (~agreed).sum()),
    ]
    predicted = trainer.predict_distributions(judged)
    constant = np.array(toy_fold["train"][SOFT_LABEL]).mean(0)
    for one, rows in zip(table.levels.values(), (agreed, ~agreed), strict=True):
        shares = reference[rows] / reference[rows].sum(-1, keepdims=True)
        found = {row.name: row.scores["squared_score"].estimate for row in one.rows}
        for name, q in (("model", predicted[rows]), ("mean label", np.tile(constant, (rows.sum(), 1)))):
            expected = ((q**2).sum(-1) - 2 * (q * shares).sum(-1)).mean()
            assert found[name] == pytest.approx(expected, abs=1e-6)
            assert f"{expected:.4f} [" in str(table)
        assert one.n_groups == len({speaker for speaker, row in zip(judged["speaker"], rows, strict=True) if row})
    whole = trainer.score_table(toy_fold["test"])
    assert whole.scored_on == "iemocap, 4class, test"
    assert not whole.levels
    assert "No table by ambiguity" in str(whole)


def test_a_cards_head_is_valid_and_holds_the_scores(toy_fold, judged, tmp_path):
    trainer = trainer_of(toy_fold["train"], judged, tmp_path)
    table = trainer.score_table(judged)
    data = written(trainer, scores=table, model_name="tiny").data
    assert (data.license, data.pipeline_tag, data.library_name) == ("other", "audio-classification", "transformers")
    assert {"dime_hf", "soft-labels"} <= set(data.tags)
    found = {result.metric_name: result.metric_value for result in data.eval_results}
    assert found == {name: pytest.approx(one.estimate, abs=1e-6) for name, one in table.rows[0].scores.items()}
    assert {result.dataset_name for result in data.eval_results} == {f"test ({table.reference})"}
    json.dumps(data.to_dict())


def test_a_card_tells_synthetic_labels_and_augmented_rows(toy_fold, judged, tmp_path):
    train = toy_fold["train"]
    sources = ["human"] * 5 + ["fitted(kappa=2.0)"] * (len(train) - 5)
    mixed = train.remove_columns(SOFT_LABEL_SOURCE).add_column(SOFT_LABEL_SOURCE, sources)
    mixed = mixed.add_column(PARENTS, [["a", "b"]] * 3 + [[]] * (len(train) - 4) + [None])
    text = written(trainer_of(mixed, judged, tmp_path)).text
    assert f"| fitted(kappa=2.0) | {len(train) - 5} |\n| human | 5 |" in text
    assert "3 of the rows were made by DiME-Aug" in text
    assert "Not scored: no scores were given." in text


def test_a_folded_temperature_is_fitted_to_votes_and_told(toy_fold, judged, tmp_path):
    trainer = trainer_of(toy_fold["train"], judged, tmp_path, tiny_encoder())
    trainer.model.classifier.weight.data.mul_(30)  # so that it says more than the same of every sound
    before = trainer.evaluate()
    found = trainer.fold_temperature(judged)
    after = trainer.evaluate()
    assert abs(found - 1) > 0.1
    assert after["eval_log_likelihood"] > before["eval_log_likelihood"]
    assert trainer.fold_temperature(judged) == pytest.approx(1, abs=1e-3)
    assert f"A temperature of {trainer.model.config.vote_temperature:.4g}" in written(trainer).text


def test_labels_of_synthetic_votes_judge_nothing(toy_fold, judged, tmp_path):
    moving = judged.remove_columns([REFERENCE_COUNTS, SOFT_LABEL_SOURCE])
    moving = moving.add_column(SOFT_LABEL_SOURCE, ["fitted"] * len(moving))
    trainer = trainer_of(toy_fold["train"], moving, tmp_path)
    with pytest.raises(LeakageError, match="labels of synthetic votes"):
        trainer.score_table(moving)
    assert "labels of synthetic votes" in trainer._scores_for_card()
    assert trainer_of(toy_fold["train"], None, tmp_path)._scores_for_card() == "there was no evaluation set with votes"
