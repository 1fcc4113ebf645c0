"""How near a small encoder that learns from the votes on toy speech comes to their known truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import datasets
import numpy as np
from numpy.typing import NDArray

from dime_hf import SoftLabelConfig, SoftLabelTrainer, audio, columns
from dime_hf.cards import ModelScores
from dime_hf.corpora import toy
from dime_hf.corpora.iemocap import FOUR_CLASSES
from dime_hf.corpora.labels import LabelSet
from dime_hf.corpora.toy_speech import INVENTORY, ToySpeaker, utter
from dime_hf.modeling import small_encoder
from dime_hf.score import score

SCHOOLS, STRANGERS = range(1, 6), 0  # seeds: 100 speakers to learn from, and 20 whom nobody has heard


@dataclasses.dataclass(frozen=True)
class Learnt:
    """A trained model, the utterances that judge it, and its scores on their votes, beside those of the truth."""

    trainer: SoftLabelTrainer
    unseen: datasets.Dataset
    table: ModelScores
    truth: float

    @property
    def share(self) -> float:
        """Of the way from the mean label to the truth, in the squared score on held-out votes."""
        model, control = (row.scores["squared_score"].estimate for row in self.table.rows)
        return (control - model) / (control - self.truth)

    @property
    def p_value(self) -> float:
        """That the model is no better than the mean label, clustered by speaker."""
        against = self.table.rows[0].against_control
        assert against is not None
        return against.p_value


def learn(folder: Path, lessons: int, epochs: int, tested: int = 200) -> Learnt:
    """Train on so many utterances of 100 speakers, and score on others."""
    parts = [toy.school(lessons // len(SCHOOLS), seed=seed) for seed in SCHOOLS]
    unseen = toy.school(tested, seed=STRANGERS)
    model, extractor = small_encoder(columns.classes(unseen))
    args = SoftLabelConfig(
        str(folder), num_train_epochs=epochs, per_device_train_batch_size=8, learning_rate=4e-3, warmup_steps=0.1,
        save_strategy="no", use_cpu=True, disable_tqdm=True, report_to="none",
    )  # fmt: skip
    trainer = SoftLabelTrainer(
        model, args, train_dataset=datasets.concatenate_datasets(parts), processing_class=extractor
    )
    trainer.train()
    known = score(truths(unseen), unseen[columns.VOTE_COUNTS])["squared_score"]
    return Learnt(trainer, unseen, trainer.score_table(unseen, name="toy speakers never heard"), known)


def truths(school: datasets.Dataset, seed: int = STRANGERS) -> NDArray[np.float64]:
    """The distributions that the votes of `toy.school` were drawn from."""
    label_set = LabelSet.of(FOUR_CLASSES, INVENTORY)
    found = []
    for n, (name, cell) in enumerate(zip(school[columns.ID], school[columns.AUDIO], strict=True)):
        speaker, number = name.split("_")
        voice = ToySpeaker.draw(speaker, "Female" if int(speaker[6:]) % 2 else "Male", seed)
        utterance = utter(voice, np.random.default_rng([seed, int(number)]))
        if n == 0:  # the same utterance
            np.testing.assert_allclose(audio.read(cell), utterance.samples, atol=1e-4)
        found.append(toy._inside(utterance.truth, label_set))
    return np.array(found)
