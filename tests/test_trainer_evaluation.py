"""Evaluation during training: against the votes that judge, by levels that others tell, best by a proper score."""

import numpy as np
import pytest
import torch
from datasets import Value
from transformers import EarlyStoppingCallback

from dime_hf import SoftLabelConfig, SoftLabelTrainer, columns
from dime_hf.columns import REFERENCE_COUNTS, SOFT_LABEL, VOTE_COUNTS
from dime_hf.corpora import toy
from dime_hf.distribution import entropy
from dime_hf.errors import ColumnError
from dime_hf.losses import LOSSES, kl
from dime_hf.score import score
from tests.test_trainer import EXTRACTOR, tiny_encoder


@pytest.fixture(scope="module")
def rows():
    """24 utterances with 6 votes each, and 4 further ones that judge; one of them has none of these."""
    voted = toy.school(utterances=24)
    reference = np.random.default_rng(0).multinomial(4, np.ones(4) / 4, 24)
    reference[7] = 0
    return voted.add_column(REFERENCE_COUNTS, reference.tolist(), feature=columns.distribution_feature(4))


def trainer_of(rows, folder, train_dataset=None, model=None, **settings):
    own = {name: settings.pop(name) for name in ("compute_metrics", "callbacks") if name in settings}
    args = SoftLabelConfig(**{"output_dir": str(folder), "disable_tqdm": True, "use_cpu": True} | settings)
    return SoftLabelTrainer(
        model or tiny_encoder(),
        args,
        train_dataset=train_dataset,
        eval_dataset=rows,
        processing_class=EXTRACTOR,
        **own,
    )


def test_held_out_votes_judge_and_the_kept_ones_tell_the_level(rows, tmp_path):
    trainer = trainer_of(rows, tmp_path, per_device_eval_batch_size=7)
    found, predicted = trainer.evaluate(), trainer.predict_distributions(rows)
    judged = np.arange(24) != 7
    reference, kept = np.array(rows[REFERENCE_COUNTS])[judged], np.array(rows[VOTE_COUNTS])[judged]
    expected = score(predicted[judged], reference)
    for name in ("squared_score", "js_divergence", "accuracy", "n"):
        assert found[f"eval_{name}"] == pytest.approx(expected[name])
    bits = entropy(kept / kept.sum(-1, keepdims=True))
    low = bits <= np.quantile(bits, 1 / 3) + 1e-9
    assert found["eval_low_n"] == low.sum()
    assert found["eval_low_n"] + found["eval_medium_n"] + found["eval_high_n"] == 23
    by_hand = (predicted[judged] ** 2).sum(-1) - 2 * (predicted[judged] * reference / 4).sum(-1)
    assert found["eval_low_squared_score"] == pytest.approx(by_hand[low].mean())
    assert found["eval_high_squared_score"] != pytest.approx(by_hand[low].mean())


def test_without_held_out_votes_all_judge_and_there_are_no_levels(rows, tmp_path):
    plain = rows.remove_columns([REFERENCE_COUNTS])
    trainer = trainer_of(plain, tmp_path)
    predicted, found = trainer.predict_distributions(plain), trainer.evaluate()
    assert found["eval_squared_score"] == pytest.approx(score(predicted, plain[VOTE_COUNTS])["squared_score"])
    assert "eval_low_squared_score" not in found
    unvoted = plain.remove_columns([VOTE_COUNTS])  # soft labels alone
    expected = score(predicted, unvoted[SOFT_LABEL])["squared_score"]
    assert trainer.evaluate(unvoted)["eval_squared_score"] == pytest.approx(expected, rel=1e-6)
    assert trainer.predict(plain).metrics["test_squared_score"] == found["eval_squared_score"]


def test_single_votes_tell_no_level(rows, tmp_path):
    single = rows.remove_columns([VOTE_COUNTS]).add_column(
        VOTE_COUNTS, [[1.0, 0, 0, 0]] * 24, feature=columns.distribution_feature(4)
    )
    assert not any(name.startswith("eval_low") for name in trainer_of(single, tmp_path).evaluate())


def test_own_metrics_come_beside(rows, tmp_path):
    trainer = trainer_of(rows, tmp_path, compute_metrics=lambda prediction: {"rows": len(prediction.label_ids)})
    found = trainer.evaluate()
    assert found["eval_rows"] == 24
    assert "eval_squared_score" in found


def test_the_least_squared_score_is_best_and_stops_training(rows, tmp_path):
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    assert SoftLabelConfig(str(tmp_path)).metric_for_best_model is None
    chosen = SoftLabelConfig(str(tmp_path), **settings, metric_for_best_model="bhattacharyya")
    assert (chosen.metric_for_best_model, chosen.greater_is_better) == ("bhattacharyya", True)
    trainer = trainer_of(
        rows,
        tmp_path / "run",
        rows,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        num_train_epochs=12,
        learning_rate=0.1,
        per_device_train_batch_size=6,
        **settings,
    )
    trainer.train()
    history = [entry["eval_squared_score"] for entry in trainer.state.log_history if "eval_squared_score" in entry]
    best = int(np.argmin(history))
    assert 3 <= len(history) < 12
    assert len(history) == best + 3
    assert trainer.state.best_metric == history[best]
    assert trainer.evaluate()["eval_squared_score"] == pytest.approx(history[best])


def test_the_first_of_several_sets_decides(rows, tmp_path):
    trainer = trainer_of(
        {"near": rows, "far": rows.select(range(6))},
        tmp_path,
        rows,
        eval_strategy="steps",
        eval_steps=2,
        save_steps=2,
        max_steps=2,
        load_best_model_at_end=True,
    )
    trainer.train()
    scored = next(entry for entry in trainer.state.log_history if "eval_near_squared_score" in entry)
    assert trainer.state.best_metric == scored["eval_near_squared_score"]


def test_a_loss_gets_the_columns_it_needs(rows, tmp_path, monkeypatch):
    seen = []

    def weighted(logits, targets, *, vote_counts, weights):
        seen.append((vote_counts, weights))
        return kl(logits, targets) * weights.mean()

    weighted.needs = (VOTE_COUNTS, "weights")
    monkeypatch.setitem(LOSSES, "of_my_own", weighted)
    numbered = rows.add_column("weights", [2.0] * 24, feature=Value("float32"))
    trainer = trainer_of(numbered, tmp_path, loss="of_my_own", per_device_eval_batch_size=24)
    plain = trainer_of(rows, tmp_path, per_device_eval_batch_size=24)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(2 * plain.evaluate()["eval_loss"])
    votes, weights = seen[0]
    np.testing.assert_array_equal(votes, rows[VOTE_COUNTS])
    assert weights.tolist() == [2.0] * 24
    assert votes.dtype == torch.float32
    trainer.predict_distributions(rows.select_columns([columns.AUDIO]))  # which needs nothing
    with pytest.raises(ColumnError, match="`train_dataset` has no column 'weights'"):
        trainer_of(None, tmp_path, rows, loss="of_my_own")


def test_grouped_batches_hold_recordings_of_like_length(rows, tmp_path):
    lengths = np.random.default_rng(0).permutation(np.linspace(1, 8, 240))
    timed = rows.select(np.arange(240) % 24).add_column(columns.DURATION, lengths.tolist())
    padded = {}
    for strategy in ("random", "group_by_length"):
        trainer = trainer_of(None, tmp_path, timed, train_sampling_strategy=strategy, per_device_train_batch_size=4)
        drawn = lengths[list(trainer._get_train_sampler())]
        assert sorted(drawn) == sorted(lengths)
        padded[strategy] = drawn.reshape(-1, 4).max(-1).mean() / lengths.mean()
    assert padded["group_by_length"] < 1.1 < 1.3 < padded["random"]
    with pytest.raises(ColumnError, match="`train_dataset` has no column 'duration'"):
        trainer_of(None, tmp_path, rows, train_sampling_strategy="group_by_length")


def test_soft_labels_teach_more_about_votes_than_hard_ones_do(tmp_path):
    """Two sounds, of votes 6:4 and 3:7: a model of hard labels is too sure of both."""
    quiet, loud = (np.full(8000, level, dtype=np.float32) for level in (0.1, -0.4))
    shares = np.array([[0.6, 0.4, 0, 0], [0.3, 0.7, 0, 0]])
    votes = 10 * shares
    likelihood = {}
    for kind, labels in (("soft", shares), ("hard", np.eye(4)[shares.argmax(-1)])):
        items = [
            {columns.AUDIO: {"array": sound, "sampling_rate": 16_000}, SOFT_LABEL: label}
            for sound, label in zip((quiet, loud), labels, strict=True)
        ]
        trainer = trainer_of(
            None, tmp_path, items, max_steps=60, learning_rate=0.02, save_strategy="no", per_device_train_batch_size=2
        )
        trainer.train()
        batch = trainer.data_collator(items)
        with torch.no_grad():
            log_q = torch.log_softmax(trainer.model.eval()(batch["input_values"]).logits, -1).double().numpy()
        likelihood[kind] = (votes * log_q).sum() / votes.sum()
    truth = (shares[:, :2] * np.log(shares[:, :2])).sum() / 2
    assert likelihood["soft"] == pytest.approx(truth, abs=0.02)
    assert -10 < likelihood["hard"] < truth - 0.1
