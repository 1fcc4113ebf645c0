"""Audio LMs tuned with LoRA: the annotator's own loss, what is changed and saved, and who is refused."""

import dataclasses
import json
import runpy
import shutil
import sys
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from dime_hf import audio, columns
from dime_hf.annotate import (
    PROMPTS,
    AudioLMAnnotator,
    SmallShape,
    annotate,
    checkpoints,
    small_audio_lm,
    write_tuned_on,
)
from dime_hf.annotate.strategies import Options, Paper
from dime_hf.corpora import toy
from dime_hf.errors import AnnotationError, AudioError, ColumnError, DistributionError, LeakageError
from dime_hf.losses import LOSSES, fit_to, get_loss
from dime_hf.tuning import TuningConfig, make_trainer, merge, tune
from dime_hf.tuning.adapters import add_classifier
from dime_hf.tuning.config import HEADS
from dime_hf.tuning.heads import ClassifierHead
from dime_hf.tuning.questions import LABELS, WINDOWS, Questions
from tests import small_families
from tests.bench import elicitation
from tests.places import ROOT

# peft reads an alias that transformers 5.23 is about to drop
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

CHECKPOINTING = (
    "activation_checkpointing" if hasattr(TuningConfig, "activation_checkpointing") else "gradient_checkpointing"
)
SHAPE = SmallShape(mel_bins=20, encoder_width=32, width=48)
CLASSES = columns.classes(toy.school(1))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A model that knows nothing but, as it says, the labels of one utterance."""
    folder = small_audio_lm(tmp_path_factory.mktemp("models") / "base", label_set=CLASSES, shape=SHAPE)
    model = checkpoints.load(str(folder), keep=False).model
    small_families.loud(model)  # so that its answers depend on what it hears
    model.save_pretrained(folder)
    write_tuned_on(folder, ["schoolmate"])
    return folder


def pupils(utterances, seed):
    return toy.school(utterances, seed=seed).map(lambda row: {"id": f"{seed}_{row['id']}"})


@pytest.fixture(scope="module")
def train():
    return pupils(240, seed=11)


@pytest.fixture(scope="module")
def held_out():
    return pupils(80, seed=12)


def asking(folder, **options):
    return AudioLMAnnotator(folder, CLASSES, **{"prompts": PROMPTS[:2], "strategy": Options(orders=2), **options})


def config(folder, **options):
    given = {"max_steps": 24, "per_device_train_batch_size": 16, "learning_rate": 1e-3, "logging_strategy": "no"}
    return TuningConfig(str(folder), **{**given, "save_strategy": "no", "disable_tqdm": True, **options})


@pytest.fixture(scope="module")
def run(base, train, tmp_path_factory):
    """A trainer that has trained, and what its weights were before."""
    folder = tmp_path_factory.mktemp("run") / "tuned"
    trainer = make_trainer(asking(base), train, config(folder))
    before = {name: weight.clone() for name, weight in trainer.model.named_parameters()}
    trainer.train()
    trainer.save_model()
    return trainer, before


@pytest.fixture(scope="module")
def tuned(run):
    trainer, _ = run
    return dataclasses.replace(trainer.annotator, adapter=trainer.args.output_dir)


def noise(seconds):
    return np.random.default_rng(seconds).normal(0, 0.1, 16_000 * seconds).astype("float32")


def distributions(dataset, annotator):
    answers = annotate(dataset, annotator)["answers"]
    return np.array([[answer["distribution"] for answer in row] for row in answers])


def test_tuning_improves_the_answers_about_speakers_never_heard(base, tuned, held_out):
    votes = np.array(held_out["soft_label"])
    before, after = (
        (votes * np.log(distributions(held_out, annotator).mean(1))).sum(1) for annotator in (asking(base), tuned)
    )
    gain = after - before  # nats a vote
    assert gain.mean() > 3 * gain.std(ddof=1) / np.sqrt(len(gain)), gain.mean()


def test_the_saved_adapter_answers_as_the_model_in_memory(run, tuned, held_out):
    trainer, _ = run
    part = held_out.select(range(12))
    logits = trainer.predict(Questions(tuned, part)).predictions
    in_memory = torch.tensor(logits, dtype=torch.float64).softmax(-1).numpy().reshape(len(tuned.asks), 12, -1)
    np.testing.assert_allclose(distributions(part, tuned).swapaxes(0, 1), in_memory, atol=1e-5)
    np.testing.assert_allclose(trainer.predict_distributions(part), in_memory.mean(0), atol=1e-12)


def test_only_adapters_change(run):
    trainer, before = run
    changed = {name for name, weight in trainer.model.named_parameters() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "lora_" in name}
    assert all("language_model" in name and ".self_attn." in name for name in changed)
    assert len(changed) == 2 * 4 * SHAPE.layers


def test_an_adapter_is_small_and_peft_alone_loads_it(base, tuned, held_out):
    folder = tuned.adapter
    files = {path.name for path in Path(folder).iterdir()}
    assert files == {"README.md", "adapter_config.json", "adapter_model.safetensors", "dime_hf.json"}
    lm = asking(base).load(keep=False)
    by_peft = PeftModel.from_pretrained(lm.model, folder)
    inputs = lm.listen([audio.read(held_out[0]["audio"])])
    question = [tuned.asks[0].messages(tuned.options, "So be it.")]
    with torch.no_grad():
        expected = tuned.load().score(
            tuned.load().listen([audio.read(held_out[0]["audio"])]), [question], tuned.options
        )
        scores = lm.score(inputs, [question], tuned.options)
    assert by_peft.get_base_model() is lm.model
    np.testing.assert_allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("loss", ["kl", "js_entropy"])
@pytest.mark.parametrize("whole_words", [True, False])
def test_the_loss_is_that_of_the_annotators_probabilities(tmp_path, train, loss, whole_words):
    folder = small_audio_lm(tmp_path / "model", label_set=CLASSES, shape=SHAPE, whole_words=whole_words)
    part = train.select(range(5))
    annotator = asking(folder)
    trainer = make_trainer(annotator, part, config(tmp_path / "run", loss=loss))
    rows = [trainer.train_dataset[place] for place in range(len(trainer.train_dataset))]
    with torch.no_grad():
        ours = trainer.compute_loss(trainer.model.eval(), trainer.data_collator(rows))
    asked = torch.tensor(distributions(part, annotator)).transpose(0, 1).flatten(0, 1)
    labels = torch.tensor(np.array(part["soft_label"])).repeat(len(annotator.asks), 1)
    assert float(ours) == pytest.approx(float(get_loss(loss)(asked.log(), labels)), abs=1e-5)


def test_a_recording_longer_than_the_window_counts_as_its_windows_mean(tmp_path, train):
    folder = small_audio_lm(tmp_path / "model", label_set=CLASSES, shape=dataclasses.replace(SHAPE, seconds=2))
    long = [{"bytes": audio.encode_wav(noise(seconds)), "path": None} for seconds in (1, 3, 5, 2)]
    part = train.select(range(4)).map(lambda _, n: {"audio": long[n]}, with_indices=True)
    trainer = make_trainer(asking(folder), part, config(tmp_path / "run"))
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(4)])
    assert batch["windows"].tolist() == [0, 1, 1, 2, 2, 2, 3]
    assert len(batch[LABELS]) == 4
    with torch.no_grad():
        _, outputs = trainer.compute_loss(trainer.model.eval(), batch, return_outputs=True)
    expected = distributions(part, asking(folder))[:, 0]
    np.testing.assert_allclose(outputs["logits"].softmax(-1), expected, atol=1e-5)


OF_CONCENTRATIONS = ("dirichlet_multinomial", "dirichlet_prior", "evidential")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("loss", [*LOSSES, "0.7*kl + 0.3*emd2", "weighted"])
def test_every_loss_is_fitted_fed_and_lowered_by_a_step(base, train, tmp_path, loss, head):
    part = train.select(range(4)).add_column("weights", [0.5, 2.0, 1.0, 0.5])
    settings = {"loss_settings": {"loss": "emd2"}} if loss == "weighted" else {}
    small_step = {"optim": "sgd", "learning_rate": 0.01, "lr_scheduler_type": "constant", "max_steps": 1}
    how = config(tmp_path, loss=loss, head=head, lora_dropout=0.0, warmup_steps=0, **small_step, **settings)
    annotator = asking(base, prompts=PROMPTS[:1], strategy=Options())
    if head == "options" and loss in (*OF_CONCENTRATIONS, "balanced_softmax"):
        with pytest.raises(ValueError, match="take `head='classifier'`"):
            make_trainer(annotator, part, how)
        return
    trainer = make_trainer(annotator, part, how)
    found = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    logits = torch.as_tensor(trainer.predict(trainer.train_dataset).predictions)
    labels = torch.tensor(part["soft_label"][:])
    known = {"vote_counts": torch.tensor(part["vote_counts"][:]), "weights": torch.tensor(part["weights"][:])}
    fitted = fit_to(get_loss(loss, **settings.get("loss_settings", {})), labels.numpy(), CLASSES)
    needed = {name: known[name] for name in getattr(fitted, "needs", ())}
    assert found == pytest.approx(float(fitted(logits, labels, **needed)), abs=1e-4)
    trainer.train()
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] < found
    moved = fitted.vote_logits(logits) if loss in ("balanced_softmax", "evidential") else logits
    np.testing.assert_allclose(trainer.vote_distributions(logits), moved.double().softmax(-1), atol=1e-6)


@pytest.mark.parametrize("head", ["options", "classifier"])
def test_a_padded_batch_is_its_utterances_one_by_one(base, train, tmp_path, head):
    trainer = make_trainer(asking(base), train, config(tmp_path, head=head))
    rows = [trainer.train_dataset[place] for place in (0, 1, 2, 130, 260)]

    def logits(part):
        with torch.no_grad():
            return trainer.compute_loss(trainer.model.eval(), trainer.data_collator(part), return_outputs=True)[1][
                "logits"
            ].log_softmax(-1)

    assert len({trainer.data_collator([row])["input_ids"].shape for row in rows}) > 1
    torch.testing.assert_close(logits(rows), torch.cat([logits([row]) for row in rows]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", small_families.FAMILIES)
def test_every_family_is_tuned_in_its_language_model_alone(tmp_path, family):
    small_families.needed(family)
    folder = small_families.build(family, tmp_path / family)
    clips = [{"bytes": audio.encode_wav(noise(seconds)), "path": None} for seconds in (1, 2)]
    part = toy.school(2).map(lambda _, n: {"audio": clips[n]}, with_indices=True)
    annotator = asking(folder, prompts=PROMPTS[:1], strategy=Options())
    expected = distributions(part, annotator)[:, 0]
    trainer = make_trainer(annotator, part, config(tmp_path / "run", lora_dropout=0.0))
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(2)])
    loss, outputs = trainer.compute_loss(trainer.model, batch, return_outputs=True)
    np.testing.assert_allclose(outputs["logits"].detach().softmax(-1), expected, atol=1e-5)
    loss.backward()
    tuned = {name: weight.grad for name, weight in trainer.model.named_parameters() if weight.requires_grad}
    assert len(tuned) == 2 * 4 * 2  # A and B of q, k, v and o in two layers
    assert not [name for name in tuned if "audio_tower" in name or "visual" in name]
    assert all(gradient.abs().max() > 0 for name, gradient in tuned.items() if "lora_B" in name)


def test_gradient_checkpointing_changes_no_gradient(base, train, tmp_path):
    gradients = []
    for checkpointed in (False, True):
        options = config(tmp_path, lora_dropout=0.0, tune_encoder=True, **{CHECKPOINTING: checkpointed})
        trainer = make_trainer(asking(base), train, options)
        if checkpointed:
            getattr(trainer.model.get_base_model(), f"{CHECKPOINTING}_enable")({"use_reentrant": False})
        trainer.model.train()
        trainer.compute_loss(
            trainer.model, trainer.data_collator([trainer.train_dataset[n] for n in range(3)])
        ).backward()
        gradients.append({n: w.grad for n, w in trainer.model.named_parameters() if w.requires_grad})
    assert any("audio_tower" in name for name in gradients[0])
    assert sum(gradient.abs().sum() for gradient in gradients[0].values()) > 0
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(("modality", "moved"), [("both", True), ("audio", True), ("text", False)])
def test_shuffling_the_audio_changes_the_loss_unless_only_text_is_read(base, train, tmp_path, modality, moved):
    trainer = make_trainer(asking(base, modality=modality), train, config(tmp_path))
    rows = [trainer.train_dataset[place] for place in range(6)]
    assert all(row["text"] for row in rows)
    shuffled = [{**row, "audio": other["audio"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    unread = [{**row, "text": other["text"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    with torch.no_grad():
        trainer.model.eval()
        loss, of_shuffled, of_unread = (
            float(trainer.compute_loss(trainer.model, trainer.data_collator(some)))
            for some in (rows, shuffled, unread)
        )
    assert (abs(loss - of_shuffled) > 1e-4) == moved
    assert (loss != of_unread) == (modality != "audio")


def test_the_annotator_has_the_modality_that_it_was_tuned_in(base, train, tmp_path):
    deaf = asking(base, modality="text")
    part = train.select(range(6))
    other = part.map(lambda _, n: {"audio": train[10 + n]["audio"]}, with_indices=True)
    np.testing.assert_array_equal(distributions(part, deaf), distributions(other, deaf))
    assert np.abs(distributions(part, asking(base)) - distributions(other, asking(base))).max() > 1e-3
    prints = {asking(base, modality=modality).fingerprint for modality in ("both", "audio", "text")}
    assert len(prints) == 3
    unseen = [dataclasses.replace(prompt, transcript=False) for prompt in PROMPTS[:2]]
    assert asking(base, modality="audio").fingerprint == asking(base, prompts=unseen).fingerprint
    tuned = tune(deaf, part, config(tmp_path / "tuned", max_steps=1))
    assert tuned.modality == "text"
    mute = part.map(lambda _: {"text": None})
    answers = annotate(mute, dataclasses.replace(deaf, name="deaf"))["answers"]
    assert {answer["status"] for row in answers for answer in row} == {"failed"}
    with pytest.raises(AnnotationError, match="leaves nothing to the `prompts` without a transcript"):
        asking(base, modality="text", prompts=unseen)
    with pytest.raises(AnnotationError, match="`modality` must be one of both, audio, text; got 'sound'"):
        asking(base, modality="sound")


def test_it_refuses_whom_it_was_tuned_on(run, base, tuned, train, held_out):
    assert tuned.tuned_on == set(train["id"]) | checkpoints.tuned_on(str(base))
    mixed = held_out.select(range(3)).map(
        lambda row, n: {"id": train[0]["id"] if n == 1 else row["id"]}, with_indices=True
    )
    with pytest.raises(LeakageError, match="human labels of 1 of these utterances"):
        annotate(mixed, tuned)
    assert len(annotate(held_out.select(range(3)), tuned)) == 3
    with pytest.raises(LeakageError, match="`dataset` has 3 utterances that were tuned on"):
        run[0].predict_distributions(train.select(range(3)))


def test_validation_utterances_count_as_seen_where_they_choose_the_weights(base, train, held_out, tmp_path):
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    few, some = train.select(range(32)), held_out.select(range(8))
    chosen = tune(asking(base), few, config(tmp_path / "a", load_best_model_at_end=True, **options), validation=some)
    assert set(some["id"]) < chosen.tuned_on
    assert checkpoints.tuned_on(str(tmp_path / "a" / "checkpoint-2")) == chosen.tuned_on
    with pytest.raises(LeakageError, match="`validation` has 4 utterances of `train`"):
        make_trainer(asking(base), few, config(tmp_path / "b"), validation=train.select(range(28, 40)))


def test_resuming_is_going_on(base, train, tmp_path):
    options = {"save_strategy": "steps", "save_steps": 3, "max_steps": 6, "per_device_train_batch_size": 4}
    whole = tune(asking(base), train, config(tmp_path / "tuned", **options))
    expected = (tmp_path / "tuned" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "tuned" / "checkpoint-6")
    resumed = tune(asking(base), train, config(tmp_path / "tuned", **options), resume=True)
    assert (tmp_path / "tuned" / "adapter_model.safetensors").read_bytes() == expected
    assert resumed.fingerprint == whole.fingerprint


def test_another_adapter_is_another_annotator(base, tuned, train, tmp_path):
    other = tune(asking(base), train, config(tmp_path / "other", max_steps=2))
    prints = {asking(base).fingerprint, tuned.fingerprint, other.fingerprint}
    assert len(prints) == 3
    write_tuned_on(other.adapter, ["someone"])
    assert other.fingerprint in prints  # it changes no answer
    described = tuned.describe()["tuned/tone"]
    assert described["model"] == "base + tuned"
    assert described["revision"].count("+") == 1


def test_frozen_weights_in_bf16_with_adapters_in_float32(base, train, held_out, tmp_path):
    annotator = asking(base, prompts=PROMPTS[:1], strategy=Options(), dtype="bfloat16")
    trainer = make_trainer(annotator, train, config(tmp_path / "tuned", max_steps=2))
    trainer.train()
    dtypes = {weight.requires_grad: weight.dtype for weight in trainer.model.parameters()}
    assert dtypes == {True: torch.float32, False: torch.bfloat16}
    trainer.save_model()
    tuned = dataclasses.replace(annotator, adapter=trainer.args.output_dir)
    part = held_out.select(range(6))
    np.testing.assert_allclose(distributions(part, tuned).mean(1), trainer.predict_distributions(part), atol=0.03)


def test_an_adapter_that_lacks_weights_is_refused(tuned, tmp_path):
    shutil.copytree(tuned.adapter, tmp_path / "cut")
    weights = load_file(tmp_path / "cut" / "adapter_model.safetensors")
    save_file(dict(list(weights.items())[1:]), tmp_path / "cut" / "adapter_model.safetensors")
    with pytest.raises(AnnotationError, match="cannot be put into the checkpoint: Found missing adapter keys"):
        dataclasses.replace(tuned, adapter=tmp_path / "cut").load()


def test_merged_weights_answer_as_the_adapter(tuned, held_out, tmp_path):
    merged = merge(tuned, tmp_path / "merged")
    part = held_out.select(range(12))
    np.testing.assert_allclose(distributions(part, merged), distributions(part, tuned), atol=1e-4)
    assert merged.tuned_on == tuned.tuned_on
    assert not list((tmp_path / "merged").glob("adapter*"))
    with pytest.raises(AnnotationError, match="has no `adapter` to merge"):
        merge(merged, tmp_path)


def test_loading_a_model_to_be_tuned_leaves_the_annotators_alone(base, train, tmp_path):
    annotator = asking(base)
    kept = annotator.load()
    before = distributions(train.select(range(3)), annotator)
    make_trainer(annotator, train, config(tmp_path, max_steps=1)).train()
    assert annotator.load().model is not kept.model  # memory: one large model at a time
    np.testing.assert_array_equal(distributions(train.select(range(3)), annotator), before)


def test_the_card_is_sound(tuned, train):
    text = Path(tuned.adapter, "README.md").read_text()
    card = huggingface_hub.ModelCard(text)
    assert card.data.library_name == "peft"
    assert f"labels of {len(tuned.tuned_on)} utterances" in text
    assert set(train["id"]) <= set(json.loads(Path(tuned.adapter, "dime_hf.json").read_text())["tuned_on"])


def test_the_classifier_learns_and_is_no_annotator(base, train, held_out, tmp_path):
    trainer = make_trainer(
        asking(base), train, config(tmp_path / "tuned", head="classifier", learning_rate=3e-3, max_steps=12)
    )
    questions = Questions(asking(base, strategy=Options()), held_out.select(range(24)))
    before = trainer.evaluate(questions)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(questions)["eval_loss"] < before - 0.02
    trainer.save_model()
    part = held_out.select(range(6))
    lm = asking(base).load(keep=False)
    add_classifier(lm, len(CLASSES))
    PeftModel.from_pretrained(lm.model, trainer.args.output_dir).eval()
    batch = trainer.data_collator([Questions(asking(base), part)[place] for place in range(6)])
    del batch[LABELS]
    windows = batch.pop(WINDOWS)
    with torch.no_grad():
        loaded = ClassifierHead(lm.family)(lm.model, batch, windows)
        in_memory = trainer.head(trainer.model.eval(), batch, windows)
    torch.testing.assert_close(loaded, in_memory, atol=1e-5, rtol=1e-5)
    annotator = dataclasses.replace(asking(base), adapter=str(tmp_path / "tuned"))
    with pytest.raises(AnnotationError, match="weights beside those of layers"):
        annotator.load()


def test_the_papers_settings(tmp_path):
    paper = TuningConfig.paper(str(tmp_path), num_train_epochs=1)
    assert (paper.lora_r, paper.lora_alpha, paper.lora_dropout, paper.head) == (8, 16, 0.2, "classifier")
    assert paper.per_device_train_batch_size * paper.gradient_accumulation_steps == 64
    assert (paper.learning_rate, paper.weight_decay, paper.max_grad_norm) == (2.5e-6, 0.03, 3.0)
    assert (paper.lr_scheduler_type, paper.get_warmup_steps(200)) == ("cosine_with_restarts", 30)
    assert (paper.loss, paper.num_train_epochs) == ("js_entropy", 1)
    with pytest.raises(ValueError, match="`head` is 'option', which is no head. Did you mean 'options'"):
        TuningConfig(str(tmp_path), head="option")


def test_what_cannot_be_tuned(base, tuned, train, tmp_path):
    with pytest.raises(AnnotationError, match="has an adapter already"):
        make_trainer(tuned, train, config(tmp_path))
    with pytest.raises(AnnotationError, match="answers in words"):
        make_trainer(asking(base, strategy=Paper()), train, config(tmp_path))
    with pytest.raises(AnnotationError, match="give both the same label set"):
        make_trainer(dataclasses.replace(asking(base), label_set=CLASSES[::-1]), train, config(tmp_path))
    unvoted = train.remove_columns("vote_counts")
    with pytest.raises(ColumnError, match="`train` has no column 'vote_counts'"):
        make_trainer(asking(base), unvoted, config(tmp_path, loss="dirichlet_multinomial", head="classifier"))
    focal = make_trainer(asking(base), train, config(tmp_path, loss="focal", loss_settings={"gamma": 0.5}))
    assert focal.loss.gamma == 0.5
    lacking = train.map(lambda row, n: {"soft_label": None if n == 2 else row["soft_label"]}, with_indices=True)
    with pytest.raises(DistributionError, match="`train` has 1 utterances without a soft label"):
        make_trainer(asking(base), lacking, config(tmp_path))
    short = {"bytes": audio.encode_wav(np.zeros(100, "float32")), "path": None}
    trainer = make_trainer(asking(base), train, config(tmp_path))
    with pytest.raises(AudioError, match=f"utterance '{train[0]['id']}': the recording lasts"):
        trainer.data_collator([{**trainer.train_dataset[0], "audio": short}])
    spelt = small_audio_lm(tmp_path / "spelt", label_set=CLASSES, shape=SHAPE, whole_words=False)
    with pytest.raises(AnnotationError, match="several tokens each with this tokenizer, and `gradient_checkpointing`"):
        make_trainer(asking(spelt), train, config(tmp_path, **{CHECKPOINTING: True}))
    with pytest.raises(AnnotationError, match="`adapter` 'nowhere' is neither a folder here"):
        _ = asking(base, adapter="nowhere").fingerprint
    with pytest.raises(AnnotationError, match="`config.head` is 'classifier', which makes no annotator"):
        tune(asking(base), train, config(tmp_path, head="classifier"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="cannot be put into the checkpoint"):
        asking(base, adapter=tmp_path / "empty").load()


def test_the_example_tunes_and_scores(base, tmp_path, monkeypatch, capsys):
    arguments = ["--utterances", "60", "--annotator", str(base), "--prompts", "1", "--merge", "--output", "out"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train_audio_lm.py", *arguments])
    runpy.run_path(str(ROOT / "examples" / "train_audio_lm.py"), run_name="__main__")
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["before"].keys() == scores["after"].keys() >= {"log_likelihood", "squared_score"}
    assert scores["before"] != scores["after"]
    assert f"-> {scores['after']['log_likelihood']:8.4f}" in capsys.readouterr().out
    assert checkpoints.tuned_on(str(tmp_path / "out" / "merged")) > {"schoolmate"}


@pytest.mark.real_weights
@pytest.mark.usefixtures("shared_data")
@pytest.mark.skipif(not elicitation.CHECKPOINT, reason="DIME_HF_AUDIO_LM names no checkpoint")
def test_real_weights_are_tuned_on_one_speaker_and_better_about_another(tmp_path):
    clips = elicitation.held_out_clips()
    gold = np.eye(len(elicitation.CLASSES))[clips["hard_label"][:]]
    clips = clips.add_column("soft_label", gold.tolist())
    first, second = (
        clips.filter(lambda speaker, which=which: speaker == which, input_columns="speaker")
        for which in elicitation.HELD_OUT
    )
    asked = AudioLMAnnotator(
        elicitation.CHECKPOINT, elicitation.CLASSES, PROMPTS[:1], Options(2), words=elicitation.WORDS
    )
    trainer = make_trainer(
        asked, first, config(tmp_path, max_steps=8, per_device_train_batch_size=8, learning_rate=1e-3)
    )
    before = trainer.predict_distributions(second)
    trainer.train()
    after, votes = trainer.predict_distributions(second), np.array(second["soft_label"])
    assert (votes * np.log(after)).sum(1).mean() > (votes * np.log(before)).sum(1).mean()
