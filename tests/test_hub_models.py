"""Models on a Hub: a trained one with its card, and an adapter, answer there as they did here."""

import pytest
from huggingface_hub import ModelCard

from tests.hub_server import TOKEN

TRAIN = """
import dime_hf
import numpy as np
from dime_hf import audio, hold_out_votes
from transformers import pipeline
from tests.test_cards import trainer_of

fold = dime_hf.load_dataset("iemocap", data_dir=root, fold=1)
trainer = trainer_of(fold["train"], hold_out_votes(fold["test"], keep=1), folder, hub_model_id="tester/tiny")
trainer.push_to_hub(license="apache-2.0")

one = fold["test"].select([0])
classifier = pipeline("audio-classification", model="tester/tiny", top_k=None)
found = {score["label"]: score["score"] for score in classifier(audio.read(one[0]["audio"]))}
classes = one.features["hard_label"].names
result = [[found[name] for name in classes], trainer.predict_distributions(one)[0].tolist()]
"""
TUNE = """
import dataclasses
from huggingface_hub import HfApi
from dime_hf.annotate import checkpoints
from dime_hf.annotate.small import small_audio_lm
from dime_hf.tuning.run import make_trainer
from tests.test_tuning import CLASSES, SHAPE, asking, config, distributions, pupils

base = str(small_audio_lm(folder + "/base", label_set=CLASSES, shape=SHAPE))
train, heard = pupils(16, seed=11), pupils(4, seed=12)
trainer = make_trainer(asking(base), train, config(folder + "/tuned", max_steps=2))
trainer.train()
trainer.save_model()
HfApi().create_repo("tester/adapter", private=True)
HfApi().upload_folder(repo_id="tester/adapter", folder_path=folder + "/tuned")

here = dataclasses.replace(trainer.annotator, adapter=folder + "/tuned")
there = dataclasses.replace(trainer.annotator, adapter="tester/adapter")
result = {
    "answers": [distributions(heard, annotator).tolist() for annotator in (asking(base), here, there)],
    "knows": there.tuned_on == here.tuned_on == set(train["id"]),
    "identity": checkpoints.identity("tester/adapter", argument="adapter"),
}
"""


def test_a_pushed_model_has_scores_in_its_card_and_predicts_the_same(client, hub, toy_root, tmp_path):
    there, here = client.run(TRAIN, root=str(toy_root), folder=str(tmp_path))
    assert there == pytest.approx(here, abs=1e-4)
    files = hub.files("models", "tester/tiny")
    assert {"README.md", "model.safetensors", "preprocessor_config.json"} <= set(files)
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "apache-2.0"
    assert "Against votes of held-out humans" in card.text
    assert 'model="tester/tiny", top_k=None' in card.text
    assert TOKEN not in client.log.read_text()


def test_an_adapter_comes_back_from_the_hub(client, hub, tmp_path):
    found = client.run(TUNE, folder=str(tmp_path))
    base, here, there = map(flat, found["answers"])
    assert there == pytest.approx(here, abs=1e-6)
    assert there != pytest.approx(base, abs=1e-4)
    assert found["knows"]
    repo = hub.repos["models", "tester/adapter"]
    assert found["identity"] == f"tester/adapter@{repo.branches['main']}"
    assert "README.md" in repo.files


def flat(answers):
    return [share for utterance in answers for answer in utterance for share in answer]
