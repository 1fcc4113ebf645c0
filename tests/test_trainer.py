"""Training on soft labels: the step is right, the sound is heard, rows keep their order, wrong input is refused."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from datasets import DatasetDict
from transformers import (
    EarlyStoppingCallback,
    HfArgumentParser,
    TrainingArguments,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    pipeline,
    set_seed,
)

from dime_hf import SoftLabelCollator, SoftLabelConfig, SoftLabelTrainer, audio, columns
from dime_hf.augment.on_the_fly import OnTheFly
from dime_hf.augment.operations import OPERATIONS, Operation, Utterance
from dime_hf.columns import SAMPLING_RATE
from dime_hf.corpora import toy
from dime_hf.distribution import js_divergence, kl_divergence
from dime_hf.errors import AudioError, ColumnError, DistributionError
from tests.places import ROOT
from tests.toy_learning import learn, truths

CLASSES = ("angry", "happy", "neutral", "sad")
LESSONS = 600  # utterances, in the seconds that a test has
EXTRACTOR = Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True)


def tiny_encoder(classes=CLASSES, dropout=0.0):
    """A Wav2Vec2 of 7,000 weights, the same at every call."""
    set_seed(0)
    config = Wav2Vec2Config(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(8, 8),
        conv_kernel=(20, 8),
        conv_stride=(20, 8),
        num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2,
        classifier_proj_size=8,
        feat_extract_norm="layer",
        hidden_dropout=dropout,
        activation_dropout=dropout,
        attention_dropout=dropout,
        final_dropout=dropout,
        layerdrop=0.0,
        apply_spec_augment=False,
        id2label=dict(enumerate(classes)),
        label2id={name: index for index, name in enumerate(classes)},
    )
    return Wav2Vec2ForSequenceClassification(config)


def half_seconds(utterances=8):
    """Utterances of toy speech, cut to half a second."""
    rows = toy.school(utterances=utterances)
    half = [audio.encode_wav(audio.read(cell)[: SAMPLING_RATE // 2]) for cell in rows[columns.AUDIO]]
    cells = [{"bytes": sound, "path": None} for sound in half]
    return rows.remove_columns(columns.AUDIO).add_column(columns.AUDIO, cells)


@pytest.fixture(scope="module")
def rows():
    """16 utterances of toy speech, of 8 lengths, with their votes."""
    return toy.school(utterances=16)


@pytest.fixture(scope="module")
def equal_rows():
    return half_seconds()


@pytest.fixture
def train(tmp_path):
    """Make a trainer; keywords are for `SoftLabelConfig`, but for those that `SoftLabelTrainer` takes."""

    def make(train_dataset=None, model=None, folder="run", trainer=SoftLabelTrainer, **settings):
        own = (
            "eval_dataset",
            "compute_metrics",
            "callbacks",
            "data_collator",
            "processing_class",
            "compute_loss_func",
        )
        options = {name: settings.pop(name) for name in own if name in settings}
        args = SoftLabelConfig(
            **{"output_dir": str(tmp_path / folder), "disable_tqdm": True, "save_strategy": "no", "use_cpu": True}
            | settings
        )
        return trainer(
            model=tiny_encoder() if model is None else model,
            args=args,
            train_dataset=train_dataset,
            **{"processing_class": EXTRACTOR} | options,
        )

    return make


def replaced(dataset, column, values):
    """The dataset with other `values` in `column`, of the same type."""
    feature = dataset.features[column]
    changed = dataset.remove_columns(column).add_column(column, values)
    return changed.cast_column(column, feature)


def weights(trainer):
    return {name: value.detach().clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.parametrize("loss", ["js", "js_entropy", "kl", "soft_cross_entropy"])
def test_four_small_batches_make_the_same_step_as_a_large_one(loss, equal_rows, train):
    steps = {}
    for size, accumulation in ((8, 1), (2, 4)):
        trainer = train(
            equal_rows,
            loss=loss,
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            optim="sgd",  # Adam and clipping would hide a step four times too long
            learning_rate=0.5,
            max_grad_norm=0.0,
            max_steps=1,
            logging_steps=1,
        )
        trainer.train()
        steps[size] = weights(trainer), trainer.state.log_history[0]["loss"]
    assert steps[8][1] == pytest.approx(steps[2][1], rel=1e-5)
    torch.testing.assert_close(steps[8][0], steps[2][0], rtol=1e-4, atol=1e-6)
    assert not torch.equal(steps[8][0]["classifier.weight"], tiny_encoder().classifier.weight)


@pytest.mark.parametrize(
    "loss",
    ["emd2", "sinkhorn", "dirichlet_multinomial", "dirichlet_prior", "evidential", "focal", "balanced_softmax",
     "0.7*kl + 0.3*emd2"],
)  # fmt: skip
def test_every_loss_is_fitted_fed_and_lowered(loss, equal_rows, train):
    """A loss gets what it needs of the training set and of a batch; predictions are what it takes for the votes."""
    trainer = train(
        equal_rows, loss=loss, max_steps=12, learning_rate=0.02, logging_steps=1, per_device_train_batch_size=8
    )
    trainer.train()
    steps = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    assert steps[-1] < steps[0]
    logits = torch.as_tensor(np.asarray(trainer.predict(equal_rows).predictions), dtype=torch.float64)
    expected = torch.softmax(trainer.loss.vote_logits(logits), -1).numpy()
    np.testing.assert_allclose(trainer.predict_distributions(equal_rows), expected, atol=1e-6)
    moved = not np.allclose(expected, torch.softmax(logits, -1).numpy())
    assert moved == (loss in ("balanced_softmax", "evidential"))
    if moved:
        with pytest.raises(ValueError, match="no temperature can be folded"):
            trainer.fold_temperature(equal_rows)


@pytest.mark.parametrize(("loss", "bits"), [("kl", kl_divergence), ("js", js_divergence)])
def test_evaluation_loss_is_the_divergence_from_the_predicted_distributions(loss, bits, rows, train):
    trainer = train(eval_dataset=rows, loss=loss, per_device_eval_batch_size=5)  # the last batch is smaller
    predicted = trainer.predict_distributions(rows)
    expected = bits(np.asarray(rows[columns.SOFT_LABEL]), predicted).mean() * np.log(2)
    assert predicted.shape == (16, 4)
    assert predicted.dtype == np.float64
    np.testing.assert_allclose(predicted.sum(-1), 1)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)


def test_training_hears_the_sound_beats_a_constant_and_nears_the_truth_on_speakers_it_never_heard(tmp_path):
    """Over half of the way to the truth. Valence is in the melody alone, which is hard to learn: without it, 42 %."""
    learnt = learn(tmp_path, lessons=LESSONS, epochs=4)
    assert learnt.p_value < 0.001
    assert 0.5 < learnt.share < 1
    truth, predicted = truths(learnt.unseen), learnt.trainer.predict_distributions(learnt.unseen)
    constant = np.asarray(learnt.trainer.train_dataset[columns.SOFT_LABEL]).mean(0)
    assert ((predicted - truth) ** 2).sum(-1).mean() < 0.5 * ((constant - truth) ** 2).sum(-1).mean()

    unseen, trainer = learnt.unseen, learnt.trainer
    shuffled = replaced(unseen, columns.AUDIO, unseen[columns.AUDIO][1:] + unseen[columns.AUDIO][:1])
    assert trainer.evaluate(shuffled)["eval_loss"] > 1.5 * trainer.evaluate(unseen)["eval_loss"]


def test_resumed_training_reaches_the_same_weights(rows, train):
    settings = {"max_steps": 5, "per_device_train_batch_size": 4, "save_strategy": "steps", "save_steps": 3}
    whole = train(rows, tiny_encoder(dropout=0.3), "whole", **settings)
    whole.train()
    resumed = train(rows, tiny_encoder(dropout=0.3), "resumed", **settings)
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-3")
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)
    interrupted = train(rows, tiny_encoder(dropout=0.3), "interrupted", **settings | {"max_steps": 3})
    interrupted.train()
    assert not torch.equal(weights(interrupted)["classifier.weight"], weights(whole)["classifier.weight"])


def test_two_processes_make_the_same_steps_as_one(tmp_path):
    command = [sys.executable, "-m", "tests.two_processes", str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {n: torch.load(tmp_path / f"{n}.pt", weights_only=False) for n in (1, 2)}
    torch.testing.assert_close(found[2]["weights"], found[1]["weights"], rtol=1e-4, atol=1e-6)
    assert not torch.equal(found[1]["weights"]["classifier.weight"], tiny_encoder().classifier.weight)
    np.testing.assert_allclose(found[2]["predicted"], found[1]["predicted"], atol=1e-5)
    for name in ("eval_loss", "eval_squared_score", "eval_n"):
        assert found[2]["scores"][name] == pytest.approx(found[1]["scores"][name], rel=1e-4)


def test_saved_model_is_a_pipeline_with_the_same_probabilities(rows, train, tmp_path):
    trainer = train(rows, max_steps=2)
    trainer.train()
    trainer.save_model(tmp_path / "model")
    classifier = pipeline("audio-classification", model=str(tmp_path / "model"), top_k=None)
    answers = classifier([audio.read(cell) for cell in rows[columns.AUDIO]])
    probabilities = [
        [{answer["label"]: answer["score"] for answer in row}[name] for name in CLASSES] for row in answers
    ]
    np.testing.assert_allclose(probabilities, trainer.predict_distributions(rows), atol=1e-5)


def test_metrics_see_every_label_and_can_stop_training_early(rows, train):
    def largest_share(prediction):
        assert prediction.predictions.shape == prediction.label_ids.shape == (16, 4)
        np.testing.assert_allclose(prediction.label_ids, rows[columns.SOFT_LABEL], rtol=1e-6)
        return {"largest_share": prediction.label_ids.max()}

    trainer = train(
        rows,
        eval_dataset=rows,
        compute_metrics=largest_share,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
        num_train_epochs=9,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        metric_for_best_model="largest_share",
        greater_is_better=True,
    )
    trainer.train()
    assert trainer.state.epoch == 3
    assert trainer.state.best_metric == 1


def test_grouping_by_length_leaves_predictions_in_order(rows, train):
    lengths = [len(audio.read(cell)) / SAMPLING_RATE for cell in rows[columns.AUDIO]]
    timed = rows.add_column(columns.DURATION, lengths)
    settings = {"per_device_eval_batch_size": 4, "per_device_train_batch_size": 4, "max_steps": 2}
    plain, grouped = train(timed, **settings), train(timed, train_sampling_strategy="group_by_length", **settings)
    np.testing.assert_allclose(grouped.predict_distributions(timed), plain.predict_distributions(timed), atol=1e-6)
    grouped.train()
    assert grouped.state.global_step == 2


def test_predictions_need_no_labels(rows, train):
    trainer = train()
    expected = trainer.predict_distributions(rows)
    unlabelled = replaced(rows, columns.SOFT_LABEL, [None] * 16)
    np.testing.assert_array_equal(trainer.predict_distributions(unlabelled), expected)
    np.testing.assert_array_equal(trainer.predict_distributions(rows.select_columns([columns.AUDIO])), expected)
    with pytest.raises(DistributionError, match="utterance 'school00_00000' has no `soft_label`"):
        trainer.evaluate(unlabelled)
    with pytest.raises(ColumnError, match="`eval_dataset` has no column 'soft_label'"):
        trainer.evaluate(rows.remove_columns(columns.SOFT_LABEL))


def test_streams_and_several_evaluation_sets_work_as_in_trainer(rows, train):
    trainer = train(rows.to_iterable_dataset(), eval_dataset={"first": rows, "second": rows.select([0])}, max_steps=2)
    trainer.train()
    metrics = trainer.evaluate()
    assert {"eval_first_loss", "eval_second_loss"} <= set(metrics)


def test_batches_are_padded_to_their_longest_and_decode_any_cell(rows):
    sounds = [audio.read(cell) for cell in rows[columns.AUDIO][:3]]
    batch = SoftLabelCollator(EXTRACTOR)([rows[index] for index in range(3)])
    assert set(batch) == {"input_values", "attention_mask", "labels"}
    assert batch["input_values"].shape == (3, max(map(len, sounds)))
    assert batch["attention_mask"].sum(-1).tolist() == [len(sound) for sound in sounds]
    assert batch["labels"].dtype == torch.float32
    np.testing.assert_allclose(batch["labels"], rows[columns.SOFT_LABEL][:3], rtol=1e-6)
    decoded = {
        columns.AUDIO: {"array": sounds[0], "sampling_rate": SAMPLING_RATE},
        columns.SOFT_LABEL: [0.5, 0.5, 0, 0],
    }
    torch.testing.assert_close(SoftLabelCollator(EXTRACTOR)([decoded])["input_values"][0], torch.from_numpy(sounds[0]))


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        ([0.5, 0.5, float("nan"), 0.0], "NaN"),
        ([0.5, 0.5, 0.5, 0.0], "must sum to 1"),
        ([1.5, -0.5, 0.0, 0.0], "a negative number"),
        (None, "nobody voted"),
    ],
)
def test_a_wrong_soft_label_is_refused_with_the_utterance(label, reason, rows):
    row = rows[3] | {columns.SOFT_LABEL: label}
    with pytest.raises(DistributionError, match=rf"(?s)utterance 'school03_00003'.*{reason}"):
        SoftLabelCollator(EXTRACTOR)([rows[0], row])


def test_a_missing_recording_is_refused_with_the_utterance(rows):
    with pytest.raises(AudioError, match="utterance 'school03_00003': the audio is null"):
        SoftLabelCollator(EXTRACTOR)([rows[3] | {columns.AUDIO: None}])


def test_wrong_datasets_are_refused_at_construction(rows, train):
    with pytest.raises(ColumnError, match=r"did you mean `train_dataset\['train'\]`"):
        train(DatasetDict(train=rows))
    with pytest.raises(ColumnError, match=r"did you mean `eval_dataset\['test'\]`"):
        train(rows, eval_dataset=DatasetDict(test=rows))
    with pytest.raises(ColumnError, match=r"`train_dataset` has no column 'soft_label'. Did you mean 'soft_labels'"):
        train(rows.rename_column(columns.SOFT_LABEL, "soft_labels"))
    with pytest.raises(ColumnError, match=r"`eval_dataset\['second'\]` has no column 'audio'"):
        train(rows, eval_dataset={"first": rows, "second": rows.remove_columns(columns.AUDIO)})


def test_a_model_of_other_classes_is_refused(rows, train):
    with pytest.raises(
        ValueError, match=r"(?s)`model` has the classes \('sad',.*`train_dataset` has the classes \('angry'"
    ):
        train(rows, tiny_encoder(CLASSES[::-1]))
    with pytest.raises(ValueError, match=r"`eval_dataset` has the classes"):
        train(eval_dataset=rows, model=tiny_encoder(CLASSES[:3]))
    with pytest.raises(ValueError, match=r"`train_dataset` has 4 classes"):
        train(rows.remove_columns(columns.HARD_LABEL), tiny_encoder(CLASSES[:3]))
    model = tiny_encoder()
    model.config.problem_type = "multi_label_classification"
    with pytest.raises(ValueError, match="`model.config.problem_type`.*set it to None"):
        train(rows, model)


def test_wrong_options_are_refused(rows, train, tmp_path):
    with pytest.raises(ValueError, match="`label_smoothing_factor` is 0.1.*pool with a prior"):
        train(rows, label_smoothing_factor=0.1)
    with pytest.raises(ValueError, match="`loss` is 'lk'.* Did you mean 'kl'"):
        train(rows, loss="lk")
    with pytest.raises(ValueError, match="`remove_unused_columns=True` would take the audio"):
        train(rows, remove_unused_columns=True)
    with pytest.raises(ValueError, match="`class_weights`: class weights in the loss.*move its optimum"):
        SoftLabelTrainer(tiny_encoder(), train().args, processing_class=EXTRACTOR, class_weights=[1.0, 2.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="`compute_loss_func` is scaled otherwise"):
        train(rows, compute_loss_func=print)
    with pytest.raises(ValueError, match="`processing_class` must be the model's feature extractor.*it is None"):
        train(rows, processing_class=None)
    with pytest.raises(ValueError, match="`args` must be a `SoftLabelConfig`"):
        SoftLabelTrainer(model=tiny_encoder(), args=TrainingArguments(str(tmp_path)), processing_class=EXTRACTOR)
    with pytest.raises(ColumnError, match="`data_collator` gave no 'labels'"):
        train(rows, data_collator=SoftLabelCollator(EXTRACTOR, labels=False), max_steps=1).train()


def test_config_changes_few_defaults_and_reads_from_a_command_line(tmp_path):
    (config,) = HfArgumentParser(SoftLabelConfig).parse_args_into_dataclasses(
        ["--output_dir", str(tmp_path), "--loss", "js", "--hub_token", "secret"]
    )
    assert config.loss == "js"
    assert "secret" not in repr(config)
    plain, ours = TrainingArguments(str(tmp_path)).to_dict(), SoftLabelConfig(str(tmp_path)).to_dict()
    changed = {name for name in ours if name not in plain or ours[name] != plain[name]}
    ours_alone = {"loss", "loss_settings", "augment", "augment_share", "feature_mix"}
    expected = ours_alone | {"remove_unused_columns", "label_names", "length_column_name"}
    assert changed - {"dataloader_pin_memory"} == expected


class Fainter(Operation):
    """The same, less loud: keeps the label."""

    name = "fainter"
    parents = 1

    def draw(self, rng):
        return {"gain": float(rng.uniform(0.1, 0.9))}

    def weights(self, durations, parameters):
        return np.ones(1)

    def apply(self, parents, parameters):
        return Utterance(np.float32(parameters["gain"]) * parents[0].samples, parents[0].text)


def gains(batches, rows):
    """How much louder each row came out than it is, in its order."""
    sounds = {id: audio.read(cell) for id, cell in zip(rows["id"], rows["audio"], strict=True)}
    values = torch.cat([batch["input_values"][:, :8000] for batch in batches]).numpy()
    assert len(values) == len(sounds)
    return [
        float(value @ sound[:8000] / (sound[:8000] @ sound[:8000]))
        for value, sound in zip(values, sounds.values(), strict=True)
    ]


@pytest.mark.parametrize("workers", [0, 2])
def test_sounds_are_changed_anew_in_each_epoch(workers, equal_rows, train, monkeypatch):
    monkeypatch.setitem(OPERATIONS, "fainter", Fainter())

    def of_epochs(size, workers):
        options = {"dataloader_num_workers": workers, "dataloader_persistent_workers": workers > 0}
        trainer = train(equal_rows, augment="fainter", seed=3, per_device_train_batch_size=size, **options)
        monkeypatch.setattr(trainer, "_get_train_sampler", lambda *_: torch.utils.data.SequentialSampler(equal_rows))
        loader, found = trainer.get_train_dataloader(), []
        for epoch in (0, 1.0, 1.5):
            trainer.state.epoch = epoch
            trainer.callback_handler.on_epoch_begin(trainer.args, trainer.state, trainer.control)
            found.append(gains(loader, equal_rows))
        return found

    first, second, resumed = of_epochs(3, workers)
    assert len({round(gain, 5) for gain in first + second}) == 16
    assert all(0.1 <= gain <= 0.9 for gain in first + second)
    assert second == pytest.approx(resumed)
    assert of_epochs(8, 0)[0] == pytest.approx(first, rel=1e-5)


def test_evaluation_is_never_augmented(equal_rows, train, monkeypatch):
    monkeypatch.setitem(OPERATIONS, "fainter", Fainter())
    trainer = train(equal_rows, augment="fainter", eval_dataset=equal_rows, num_train_epochs=2)
    loaders = [
        trainer.get_eval_dataloader(),
        trainer.get_eval_dataloader(equal_rows),
        trainer.get_test_dataloader(equal_rows),
    ]
    for loader in loaders:
        assert gains(loader, equal_rows) == pytest.approx([1] * 8)
    plain = train(equal_rows, eval_dataset=equal_rows)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain.evaluate()["eval_loss"])
    np.testing.assert_allclose(trainer.predict_distributions(equal_rows), plain.predict_distributions(equal_rows))
    trainer.train()
    assert int(trainer.training_collator.epoch) == trainer.args.num_train_epochs - 1


def test_a_share_of_the_rows_is_changed(equal_rows):
    collators = [SoftLabelCollator(EXTRACTOR, augment=OnTheFly(Fainter(), share)) for share in (0, 0.5, 1)]
    none, half, every = [np.array(gains([collator(list(equal_rows))], equal_rows)) < 0.95 for collator in collators]
    assert (none.sum(), every.sum()) == (0, 8)
    assert 0 < half.sum() < 8


def test_only_what_keeps_labels_is_done_on_the_fly(tmp_path, equal_rows, train, monkeypatch):
    with pytest.raises(DistributionError, match="'interpolate' mixes 2"):
        SoftLabelConfig(str(tmp_path), augment="interpolate")
    with pytest.raises(DistributionError, match="Did you mean 'interpolate'"):
        SoftLabelConfig(str(tmp_path), augment="interpolat")
    with pytest.raises(DistributionError, match="`share`"):
        OnTheFly(Fainter(), share=2)
    monkeypatch.setitem(OPERATIONS, "fainter", Fainter())
    with pytest.raises(ValueError, match=r"give yours `augment=OnTheFly"):
        train(equal_rows, augment="fainter", data_collator=SoftLabelCollator(EXTRACTOR))
