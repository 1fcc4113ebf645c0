"""The label-drift gate: how far answers move, what the limit promises, and what becomes of rows beyond it."""

import itertools
import json
import zlib

import datasets
import numpy as np
import pytest
from scipy.sparse import csr_array

from dime_hf import audio, columns
from dime_hf.annotate import PROMPTS, AudioLMAnnotator, SmallShape, small_audio_lm
from dime_hf.annotate.annotator import failed, succeeded
from dime_hf.augment.gate import drift_gate
from dime_hf.augment.moves import Asked, Moves
from dime_hf.columns import AUGMENTATION, PARENT_WEIGHTS, PARENTS
from dime_hf.corpora import toy
from dime_hf.errors import AnnotationError, ColumnError, DistributionError
from dime_hf.evidence import plain
from dime_hf.stage import undecoded

CLASSES = ("angry", "happy", "neutral", "sad")
SILENCE = {"bytes": audio.encode_wav(np.zeros(160, np.float32)), "path": None}


class Scripted:
    """Answers what the transcript says, as each prompt and the recording together have it; some prompts fail.

    `fresh` asks about every row in prompts of its own, else copies of a text are answered alike.
    """

    label_set = CLASSES

    def __init__(self, prompts=5, orders=1, jitter=0.3, fresh=False, failing=()):
        self.prompts, self.orders, self.jitter, self.fresh, self.failing = prompts, orders, jitter, fresh, failing
        self.fingerprint = repr((prompts, orders, jitter, fresh, failing))

    def answer(self, batch):
        return [self._about(id, text) for id, text in zip(batch["id"], batch["text"], strict=True)]

    def _about(self, id, text):
        found = []
        for prompt, order in itertools.product(range(self.prompts), range(self.orders)):
            name, shown = f"prompt{prompt}", np.roll(range(4), order)
            if (prompt, id) in self.failing or prompt in self.failing:
                found.append(failed(name, shown.tolist(), "did not answer"))
                continue
            key = f"{id if self.fresh else ''}/{text}/{prompt}/{order}"
            logs = np.log(np.array(text.split(), float)) + self.jitter * np.random.default_rng(
                zlib.crc32(key.encode())
            ).normal(size=4)
            found.append(succeeded(name, shown.tolist(), (np.exp(logs) / np.exp(logs).sum()).tolist(), 0.0))
        return found


def corpus(rows=40, seed=0):
    """Parents whose transcript is their true distribution."""
    truths = np.random.default_rng(seed).dirichlet(np.ones(4), rows) * 0.9 + 0.025
    return table([f"p{n:03}" for n in range(rows)], truths, [[]] * rows, [[]] * rows, [""] * rows)


def table(ids, truths, parents, weights, augmentation, labels=None):
    labels = truths if labels is None else labels
    rows = {
        "id": ids,
        "audio": [SILENCE] * len(ids),
        "text": [" ".join(f"{share:.6f}" for share in row) for row in truths],
        "hard_label": [None] * len(ids),
        "soft_label": np.asarray(labels).tolist(),
        "soft_label_votes": [3.0] * len(ids),
        "soft_label_source": ["human" if not some else "dime_aug" for some in parents],
        PARENTS: parents,
        PARENT_WEIGHTS: weights,
        AUGMENTATION: augmentation,
    }
    text = datasets.Value("string")
    lineage = {PARENTS: datasets.List(text), PARENT_WEIGHTS: datasets.List(datasets.Value("float32"))}
    labelled = columns.label_features(CLASSES)
    kept = {name: labelled[name] for name in ("hard_label", "soft_label", "soft_label_votes", "soft_label_source")}
    features = {"id": text, "audio": {"bytes": datasets.Value("binary"), "path": text}, "text": text, **kept}
    return datasets.Dataset.from_dict(rows, features=datasets.Features({**features, **lineage, AUGMENTATION: text}))


def truths_of(train):
    return np.array([row.split() for row in train["text"]], float)


def children(train, operation, truths, parents=None, weights=None):
    """New rows, one each parent unless `parents` says otherwise, that sound like `truths`."""
    parents = [[id] for id in train["id"]] if parents is None else parents
    weights = [[1.0]] * len(parents) if weights is None else weights
    place = {id: row for row, id in enumerate(train["id"])}
    labels = np.array(train["soft_label"])
    mixed = [np.array(w) @ labels[[place[id] for id in some]] for some, w in zip(parents, weights, strict=True)]
    ids = [f"{'+'.join(some)}~{operation}" for some in parents]
    return table(ids, truths, parents, weights, [json.dumps({"operation": operation})] * len(ids), mixed)


def test_copies_pass_and_other_recordings_do_not():
    train = corpus()
    truths = truths_of(train)
    far = truths[[int(np.abs(truths - row).sum(1).argmax()) for row in truths]]
    augmented = datasets.concatenate_datasets([train, children(train, "copy", truths), children(train, "swap", far)])
    found, report = drift_gate(train, augmented, Scripted())
    assert found["id"][:] == augmented["id"][:80]  # real rows, then copies, in their order
    assert found.features == augmented.features
    counts = {name: (count.rows, count.moved, count.unanswered) for name, count in report.by_operation.items()}
    assert counts == {"copy": (40, 0, 0), "swap": (40, 40, 0)}
    assert (report.total.rows, report.total.moved, report.kept) == (80, 40, 40)
    assert sum(count.moved for count in report.by_class.values()) == 40
    top = np.array(CLASSES)[np.array(train["soft_label"]).argmax(-1)]
    assert {name: count.rows for name, count in report.by_class.items()} == {
        name: 2 * int((top == name).sum()) for name in set(top)
    }
    assert (report.answers, report.failed, report.questions, report.parents) == (120 * 5, 0, 5, 40)
    assert 0 < report.limit < 0.5 < report.swapped_caught
    assert "swap" in str(report)
    assert "(100.0%)" in str(report)
    assert json.loads(json.dumps(plain(report)))["by_operation"]["swap"]["moved"] == 40


def test_a_mix_is_expected_between_its_parents():
    train = corpus()
    truths, ids = truths_of(train), train["id"][:]
    pairs = list(zip(ids[:20], ids[20:], strict=True))
    weights = [[0.25, 0.75]] * 20
    between = 0.25 * truths[:20] + 0.75 * truths[20:]
    mixes = children(train, "concatenate", between, [list(pair) for pair in pairs], weights)
    turned = children(train, "turned", 0.75 * truths[:20] + 0.25 * truths[20:], [list(p) for p in pairs], weights)
    asked = Scripted(jitter=0.02)
    _, report = drift_gate(train, datasets.concatenate_datasets([mixes, turned]), asked)
    assert report.by_operation["concatenate"].moved <= 4  # heard in words of its own: the promised 5 %, of 20
    assert report.by_operation["turned"].moved >= 18


def draw(rng, truths, questions):
    """Answers (N, Q, 4) of an annotator that hears the truth, each question with its own skewed error."""
    error = rng.exponential(0.1, (len(truths), questions, 4))
    return truths[:, None] + error - error.mean(-1, keepdims=True)


def asked(answers, there=None, unit=None):
    there = np.ones(answers.shape[:2], dtype=bool) if there is None else there
    return Asked(answers * there[..., None], there, np.arange(answers.shape[1]) if unit is None else unit)


@pytest.mark.parametrize("prompts", [2, 3, 5, 10])
def test_false_alarms_of_what_is_asked_in_other_prompts_are_as_promised(prompts):
    """Monte Carlo: copies, and mixes that are heard as the mix they are; some answers fail."""
    rng, size = np.random.default_rng(prompts), 3000
    truths, share = rng.dirichlet(np.ones(4), size), np.array([0.3, 0.7])
    known = asked(draw(rng, truths, prompts))
    rows = np.arange(size)
    mixes = csr_array((np.tile(share, size), (np.repeat(rows, 2), np.column_stack([rows, rows - 1]).ravel() % size)))
    for weights in (csr_array(np.eye(size)), mixes):
        new = asked(draw(rng, weights @ truths, prompts), rng.random((size, prompts)) < 0.8)
        found = Moves.read(known, new, weights, quantile=0.95)
        assert found.too_far[~found.unanswered].mean() == pytest.approx(0.05, abs=0.02)
        assert (found.unanswered == ~new.there.any(1)).all()


def test_prompts_are_halved_whole_with_all_their_orders():
    """A prompt that errs in all its orders alike shows in the limit, and false alarms stay as promised."""
    rng, size = np.random.default_rng(0), 2000
    truths, unit = rng.dirichlet(np.ones(4), size), np.repeat(np.arange(4), 3)
    known, new = (asked(draw(rng, truths, 4)[:, unit], unit=unit) for _ in range(2))
    assert Moves.read(known, new, csr_array(np.eye(size)), 0.95).too_far.mean() == pytest.approx(0.05, abs=0.02)
    naive = (asked(one.answers) for one in (known, new))
    assert Moves.read(*naive, csr_array(np.eye(size)), 0.95).too_far.mean() > 0.15


def test_spread_is_that_of_all_halves_by_brute_force():
    rng = np.random.default_rng(1)
    unit = np.array([0, 0, 1, 2, 2, 3])
    answers, there = rng.dirichlet(np.ones(3), (7, 6)), rng.random((7, 6)) < 0.7
    expected = []
    for row in range(7):
        for half in itertools.combinations(range(4), 2):
            sides = [[q for q in range(6) if there[row, q] and (unit[q] in half) == side] for side in (True, False)]
            if all(sides):
                one, other = (answers[row, side].mean(0) for side in sides)
                prompts = [len(set(unit[side])) for side in sides]
                expected.append(np.abs(one - other).sum() / 2 / np.sqrt(1 / prompts[0] + 1 / prompts[1]))
    np.testing.assert_allclose(np.sort(asked(answers, there, unit).spread()), np.sort(expected))


def test_many_prompts_are_halved_by_lot():
    spread = asked(draw(np.random.default_rng(0), np.full((5, 4), 0.25), 20)).spread()
    assert len(spread) == 5 * 64


def test_failed_answers_are_no_agreement():
    train = corpus(20)
    truths = truths_of(train)
    augmented = children(train, "swap", np.roll(truths, 1, axis=1))
    silent, half = augmented["id"][:5], augmented["id"][5:10]
    failing = {(prompt, id) for prompt in range(5) for id in silent} | {
        (prompt, id) for prompt in (0, 1) for id in half
    }
    failing |= {(prompt, "p019") for prompt in range(5)}  # a parent
    found, report = drift_gate(train, augmented, Scripted(jitter=0.05, failing=frozenset(failing)))
    assert (report.failed, report.answers) == (40, 200)
    assert report.total.unanswered == 6
    assert report.total.moved + report.total.unanswered + len(found) == 20
    kept, report = drift_gate(train, augmented, Scripted(jitter=0.05, failing=frozenset(failing)), unanswered="keep")
    assert set(kept["id"]) == {*found["id"], *silent, "p019~swap"}
    assert "unanswered ones kept" in str(report)


def test_moved_rows_get_the_posterior_of_label_and_answer():
    train = corpus(20)
    truths = truths_of(train)
    other = np.roll(truths, 1, axis=1)
    augmented = datasets.concatenate_datasets([train, children(train, "copy", truths), children(train, "swap", other)])
    annotator = Scripted(jitter=0.02)
    found, report = drift_gate(train, augmented, annotator, action="relabel", effective_votes=2.0)
    assert found["id"][:] == augmented["id"][:]
    assert report.kept == 40
    moved = [row for row, source in enumerate(found["soft_label_source"]) if source == "dime_aug+gate(kappa=2)"]
    assert len(moved) == report.total.moved >= 15
    answers = annotator.answer(augmented[:])
    for row in range(len(found)):
        before, after = augmented[row], found[row]
        if row not in moved:
            assert after == before
            continue
        answer = np.mean([one["distribution"] for one in answers[row]], axis=0)
        np.testing.assert_allclose(
            after["soft_label"], (3 * np.array(before["soft_label"]) + 2 * answer) / 5, atol=1e-6
        )
        assert after["soft_label_votes"] == 5.0


def test_one_prompt_has_its_orders_halved():
    train = corpus(20)
    augmented = children(train, "copy", truths_of(train))
    _, report = drift_gate(train, augmented, Scripted(prompts=1, orders=4, fresh=True))
    assert (report.questions, report.total.unanswered) == (4, 0)
    assert report.limit > 0
    with pytest.raises(AnnotationError, match="its own spread is not known"):
        drift_gate(train, augmented, Scripted(prompts=1))
    with pytest.raises(AnnotationError, match="its own spread is not known"):
        drift_gate(train, augmented, Scripted(prompts=2, failing=(0, 1)))


def test_small_moves_may_be_tolerated():
    train = corpus(20)
    augmented = children(train, "softer", truths_of(train) * 0.9 + 0.025)
    assert drift_gate(train, augmented, Scripted(jitter=0.0))[1].total.moved == 20  # it never minds the prompt
    assert drift_gate(train, augmented, Scripted(jitter=0.0), tolerance=0.1)[1].total.moved == 0


def test_answers_of_others_do_not_count_and_the_store_is_used(tmp_path):
    train = corpus(10)
    augmented = children(train, "copy", truths_of(train))
    other = [[succeeded("other", range(4), [1.0, 0.0, 0.0, 0.0], 0.0)]] * 10
    marked = train.add_column("answers", other, feature=columns.answers_feature(CLASSES))
    path = tmp_path / "answers.sqlite"
    _, report = drift_gate(marked, augmented, Scripted(), store=path)
    assert report.questions == 5

    class Mute(Scripted):
        def answer(self, batch):
            raise AssertionError("asked again")

    assert drift_gate(train, augmented, Mute(), store=path)[1] == report


def test_what_is_refused():
    train = corpus(6)
    augmented = children(train, "copy", truths_of(train))
    for wrong, error, message in (
        ({"action": "fix"}, DistributionError, "`action` must be one of"),
        ({"unanswered": "pass"}, DistributionError, "`unanswered` must be one of"),
        ({"quantile": 1.0}, DistributionError, "`quantile` must lie between 0 and 1"),
        ({"tolerance": -0.1}, DistributionError, "`tolerance` must be"),
        ({"action": "relabel"}, DistributionError, "`effective_votes` is None"),
    ):
        with pytest.raises(error, match=message):
            drift_gate(train, augmented, Scripted(), **wrong)
    with pytest.raises(ColumnError, match="`train` lacks 1 parents of `augmented`, the first is 'p005'"):
        drift_gate(train.select(range(5)), augmented, Scripted())
    with pytest.raises(DistributionError, match="no rows that DiME-Aug made"):
        drift_gate(train, train, Scripted())
    with pytest.raises(ColumnError, match="`augmented` has no column 'parents'"):
        drift_gate(train, train.remove_columns("parents"), Scripted())


def test_a_real_model_hears_what_noise_and_swaps_destroy(tmp_path):
    """The small Qwen2-Audio, taught for seconds: copies pass, noise and recordings of other emotions do not."""
    shape = SmallShape(encoder_width=32, encoder_layers=1, width=48, layers=1)
    lm = small_audio_lm(tmp_path / "lm", toy.school(96, seed=3), shape=shape, steps=30)
    train = undecoded(toy.school(12, seed=11).map(lambda row: {"id": f"stranger_{row['id']}"}))
    labels = np.array(train["soft_label"])
    far = [int(np.abs(labels - row).sum(1).argmax()) for row in labels]

    def noise(row, index):
        return np.random.default_rng(index).normal(0, 0.1, len(audio.read(row["audio"]))).astype("float32")

    def made(operation, sound):
        def child(row, index):
            wav = {"bytes": audio.encode_wav(sound(row, index)), "path": None}
            lineage = {PARENTS: [row["id"]], PARENT_WEIGHTS: [1.0], AUGMENTATION: json.dumps({"operation": operation})}
            return {"id": f"{row['id']}~{operation}", "audio": wav, **lineage}

        return train.map(child, with_indices=True)

    sounds = {
        "copy": lambda row, _: audio.read(row["audio"]),
        "noise": noise,
        "swap": lambda _, index: audio.read(train[far[index]]["audio"]),
    }
    augmented = datasets.concatenate_datasets([made(*one) for one in sounds.items()])
    annotator = AudioLMAnnotator(lm, columns.classes(train), prompts=PROMPTS[:3])
    found, report = drift_gate(train, augmented, annotator)
    moved = {name: count.moved for name, count in report.by_operation.items()}
    assert moved["copy"] == 0
    assert moved["noise"] >= 10
    assert moved["swap"] >= 9
    assert found["id"][:12] == augmented["id"][:12]
    assert report.failed == 0
