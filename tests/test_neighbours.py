"""Features and neighbours: librosa's numbers, brute force's neighbours, and groups that are never crossed."""

import sys

import datasets
import numpy as np
import pytest
import scipy.spatial.distance
import soundfile
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from dime_hf import audio
from dime_hf.augment import neighbours
from dime_hf.augment.embeddings import embed
from dime_hf.augment.features import neighbour_features, standardize, text_statistics, utterance_statistics
from dime_hf.augment.neighbours import (
    NOBODY,
    embedding_features,
    find_neighbours,
    group_names,
    nearest_utterances,
)
from dime_hf.augment.sound import HOP, audio_statistics
from dime_hf.distribution import entropy
from dime_hf.errors import ColumnError, DistributionError
from tests.bench.augment import librosa_statistics

NOISE = np.random.default_rng(0).normal(0, 0.1, 3 * HOP + 100).astype(np.float32)
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)).astype(np.float32)
CLIPS = {
    "silence": np.zeros(9000, np.float32),
    "one sample": np.float32([0.25]),
    "shorter than a hop": NOISE[:300],
    "shorter than a frame": NOISE,
    "whole hops": np.tile(NOISE, 3)[: 8 * HOP],
    "a tone": TONE,
    "noise after digital silence": np.concatenate([np.zeros(8000, np.float32), NOISE, np.zeros(5000, np.float32)]),
    "samples just off zero": np.tile(np.float32([5e-11, -5e-11, 0.1, -0.0]), 1000),
    "clipped": np.sign(np.tile(NOISE, 2)),
    "longer than a chunk of frames": np.tile(NOISE * np.linspace(0, 1, len(NOISE), dtype=np.float32), 30),
}


@pytest.fixture(scope="module")
def train(toy_fold):
    return toy_fold["train"]


def brute_force(points, k, within=None, ids=None):
    """Neighbours one by one: sorted by (distance, id) among the rows of the same group."""
    names = range(len(points)) if ids is None else ids
    rows = []
    for i in range(len(points)):
        others = [
            (float(((points[i] - points[j]) ** 2).sum()), names[j], j)
            for j in range(len(points))
            if j != i and (within is None or (within[i] == within[j] and within[i] is not None))
        ]
        near = [j for *_, j in sorted(others)[:k]]
        rows.append(near + [NOBODY] * (k - len(near)))
    return np.array(rows)


@pytest.mark.filterwarnings("ignore:n_fft=2048 is too large")  # librosa, of what is shorter than a frame
@pytest.mark.filterwarnings("ignore:Trying to estimate tuning from empty")  # librosa, of silence
@pytest.mark.parametrize("name", CLIPS)
def test_audio_statistics_are_those_of_librosa(name):
    np.testing.assert_allclose(
        audio_statistics([CLIPS[name]])[0], librosa_statistics(CLIPS[name]), rtol=1e-4, atol=1e-4, err_msg=name
    )


def test_audio_statistics_of_real_clips_are_those_of_librosa(shared_data):
    files = sorted((shared_data / "emodb" / "wav").glob("*.wav"))[::12]
    ours = audio_statistics([audio.read(file) for file in files])
    theirs = np.array([librosa_statistics(soundfile.read(file, dtype="float32")[0]) for file in files])
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(standardize(ours), standardize(theirs), atol=1e-4)


def test_text_statistics():
    numbers = text_statistics("Oh no, no! Is it 7?")
    expected = [19, 6, 14 / 6, 5 / 6, 1, 1, 1, 0, 2 / 19, 1 / 19]
    assert numbers.tolist() == pytest.approx(expected)
    assert text_statistics("").tolist() == [0] * 10


def test_the_statistics_of_a_dataset_are_those_of_its_clips(train):
    some = train.select(range(20))
    raw = utterance_statistics(some)
    for row, statistics in zip(some, raw, strict=True):
        expected = [*audio_statistics([audio.read(row["audio"])])[0], *text_statistics(row["text"])]
        np.testing.assert_allclose(statistics, expected, rtol=1e-6, atol=1e-6)
    features = neighbour_features(some)
    varies = raw.std(0) > 1e-9
    np.testing.assert_allclose(features[:, varies], (raw - raw.mean(0))[:, varies] / raw.std(0)[varies], atol=1e-9)
    assert not features[:, ~varies].any()
    decoded = some.cast_column("audio", datasets.Audio(sampling_rate=16_000))
    assert (neighbour_features(decoded) == features).all()


def test_statistics_depend_neither_on_order_nor_on_processes(train):
    some = train.select(range(12))
    features = neighbour_features(some)
    backwards = neighbour_features(some.select(range(11, -1, -1)))
    assert (backwards[::-1] == features).all()
    assert (neighbour_features(some, num_proc=2) == features).all()


def test_statistics_are_cached_whatever_the_cores(train, tmp_path, monkeypatch):
    train.select(range(6)).save_to_disk(tmp_path)
    stored = datasets.load_from_disk(tmp_path)
    first = utterance_statistics(stored)
    monkeypatch.setattr("dime_hf.augment.features.audio_statistics", None)  # must not be asked again
    monkeypatch.setattr("dime_hf.augment.features._cores", lambda: 7)
    assert (utterance_statistics(stored) == first).all()


points_and_groups = st.integers(1, 25).flatmap(
    lambda n: st.tuples(
        st.lists(st.tuples(*[st.integers(-2, 2)] * 3), min_size=n, max_size=n),  # coarse: many ties and doubles
        st.lists(st.sampled_from(["a", "b", ("c", 1), None, ("d", None)]), min_size=n, max_size=n),
        st.permutations(range(n)),
    )
)


@settings(max_examples=60, deadline=None)
@given(points_and_groups, st.integers(1, 6))
def test_restricted_neighbours(given_points, k):
    values, within, order = given_points
    points = np.array(values, float)
    ids = [f"u{number:02}" for number in order]
    indices, distances = find_neighbours(points, k, within=within, ids=ids)
    known = [None if isinstance(name, tuple) and None in name else name for name in within]
    np.testing.assert_array_equal(indices, brute_force(points, k, known, ids))
    assert (np.isnan(distances) == (indices == NOBODY)).all()
    for row, near in enumerate(indices):
        found = near[near != NOBODY]
        assert row not in found
        assert {within[other] for other in found} <= {within[row]}
        np.testing.assert_allclose(
            distances[row, : len(found)], np.linalg.norm(points[found] - points[row], axis=-1), atol=1e-12
        )
    moved = np.array(order)  # row r becomes row order[r]
    back = np.argsort(moved)
    again, _ = find_neighbours(points[back], k, within=[within[r] for r in back], ids=[ids[r] for r in back])
    np.testing.assert_array_equal(again[moved], np.where(indices == NOBODY, NOBODY, moved[indices]))


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_exact_neighbours_in_82_dimensions(offset, monkeypatch):
    monkeypatch.setattr(neighbours, "DISTANCES", 1000)  # many blocks
    rng = np.random.default_rng(1)
    points = rng.normal(size=(300, 82)) * rng.gamma(1, size=82) + offset
    points[250:] = points[:50]  # doubles
    points[200] = points[201] + 1e-7  # nearer than single precision tells
    indices, distances = find_neighbours(points, 5)
    expected = scipy.spatial.distance.cdist(points, points)
    np.fill_diagonal(expected, np.inf)
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1, kind="stable")[:, :5])
    np.testing.assert_allclose(distances, np.sort(expected)[:, :5], atol=1e-9)


def test_distances_that_single_precision_cannot_tell_apart():
    points = np.eye(60) + 1e-9 * np.random.default_rng(6).normal(size=(60, 60))
    expected = scipy.spatial.distance.cdist(points, points)
    np.fill_diagonal(expected, np.inf)
    np.testing.assert_array_equal(find_neighbours(points, 3)[0], expected.argsort(1)[:, :3])


def test_faiss_finds_almost_all_neighbours():
    pytest.importorskip("faiss")
    rng = np.random.default_rng(2)
    points = rng.normal(size=(4000, 20)) @ rng.normal(size=(20, 82)) + rng.normal(size=(4000, 82))
    exact, far = find_neighbours(points, 3, method="exact")
    found, distances = find_neighbours(points, 3, method="faiss")
    recall = np.mean([len(set(a) & set(b)) / 3 for a, b in zip(exact, found, strict=True)])
    assert recall > 0.95
    assert (found != np.arange(4000)[:, None]).all()
    assert (distances >= far - 1e-9).all()
    np.testing.assert_allclose(distances[:, 0], np.linalg.norm(points[found[:, 0]] - points, axis=-1))


def test_faiss_is_made_up_for_where_it_finds_too_few(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "PROBED", 1)
    points = np.random.default_rng(3).normal(size=(200, 5))
    found, _ = find_neighbours(points, 20, method="faiss")
    assert (found != NOBODY).all()
    assert all(len(set(row)) == 20 for row in found)
    full, _ = find_neighbours(points, 199, method="faiss")
    np.testing.assert_array_equal(full, find_neighbours(points, 199, method="exact")[0])


def test_large_groups_need_faiss(monkeypatch):
    monkeypatch.setattr(neighbours, "EXACT_UP_TO", 50)
    monkeypatch.setitem(sys.modules, "faiss", None)
    points = np.random.default_rng(4).normal(size=(60, 3))
    with pytest.raises(ImportError, match=r"pip install 'dime_hf\[augment\]'"):
        find_neighbours(points, 2)
    assert find_neighbours(points, 2, within=[row % 2 for row in range(60)])[0].shape == (60, 2)


def test_neighbours_of_a_dataset_agree_on_the_columns(train):
    indices, distances = nearest_utterances(train, 4, match=("speaker", "dominant"))
    labels, speakers = np.array(train["soft_label"]).argmax(-1), np.array(train["speaker"])
    within = list(zip(speakers, labels, strict=True))
    np.testing.assert_array_equal(indices, brute_force(neighbour_features(train), 4, within, train["id"]))
    assert (indices != NOBODY).any()
    assert (indices == NOBODY).any()
    assert (np.isnan(distances) == (indices == NOBODY)).all()
    shuffled = train.shuffle(seed=3)
    ids, other = np.array([*train["id"], None]), np.array([*shuffled["id"], None])
    near = dict(zip(train["id"], ids[indices].tolist(), strict=True))
    again = other[nearest_utterances(shuffled, 4, match=("speaker", "dominant"))[0]].tolist()
    assert dict(zip(shuffled["id"], again, strict=True)) == near


def test_group_names():
    labels = [[1.0, 0.0], [0.9, 0.1], [0.2, 0.8], [0.5, 0.5], None, [0.4, 0.6]]
    dataset = datasets.Dataset.from_dict(
        {"id": list("abcdef"), "speaker": ["x", "x", None, "y", "y", "y"], "soft_label": labels}
    )
    names = group_names(dataset, ("speaker", "dominant"))
    assert names == [("x", 0), ("x", 0), (None, 1), ("y", 0), ("y", None), ("y", 1)]
    levels = [name for (name,) in group_names(dataset, ("level",))]
    assert levels[4] is None
    bits = entropy(np.array([label for label in labels if label]))
    by_entropy = [level for _, level in sorted(zip(bits, levels[:4] + levels[5:], strict=True))]
    assert by_entropy == ["low", "low", "medium", "high", "high"]
    with pytest.raises(ColumnError, match="Did you mean 'speaker'"):
        group_names(dataset, ("speakers",))


def test_embeddings_instead_of_the_statistics():
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(30, 6)) * [1, 1, 1, 1, 1, 50] + 3
    dataset = datasets.Dataset.from_dict({"id": [f"{row:02}" for row in range(30)], "vector": vectors.tolist()})
    scored = (vectors - vectors.mean(0)) / vectors.std(0)
    indices, _ = nearest_utterances(dataset, 3, embeddings="vector")
    np.testing.assert_array_equal(indices, brute_force(scored, 3))
    indices, distances = nearest_utterances(dataset, 3, embeddings="vector", scale="cosine")
    cosine = scipy.spatial.distance.cdist(vectors, vectors, "cosine")
    np.fill_diagonal(cosine, np.inf)
    np.testing.assert_array_equal(indices, cosine.argsort(1)[:, :3])
    np.testing.assert_allclose(distances**2 / 2, np.sort(cosine)[:, :3], atol=1e-9)
    some = dataset.select([4, 2, 9])
    np.testing.assert_allclose(
        embedding_features(some, "vector", "cosine"),
        vectors[[4, 2, 9]] / np.linalg.norm(vectors[[4, 2, 9]], axis=-1, keepdims=True),
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small random Wav2Vec2 on disk, of the kind whose answers padding changes."""
    folder = tmp_path_factory.mktemp("encoder")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.Wav2Vec2Model(
            transformers.Wav2Vec2Config(
                hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
                conv_kernel=(400, 3), conv_stride=(320, 2), num_conv_pos_embeddings=8, num_conv_pos_embedding_groups=2,
                feat_extract_norm="group",
            )
        ).eval()  # fmt: skip
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder, model


def test_embeddings_of_a_speech_encoder(train, encoder):
    folder, model = encoder
    some = train.select(range(6))
    embedded = embed(some, str(folder), layer=1)
    for row in embedded:
        samples = audio.read(row["audio"])
        heard = torch.tensor((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7))[None]
        with torch.no_grad():
            states = model(heard, output_hidden_states=True).hidden_states[1][0]
        np.testing.assert_allclose(row["embedding"], states.mean(0).numpy(), atol=1e-5)
    assert embedded.remove_columns("embedding")[:] == some[:]
    indices, _ = nearest_utterances(embedded, 2, embeddings="embedding")
    vectors = standardize(np.array(embedded["embedding"][:]))
    np.testing.assert_array_equal(indices, brute_force(vectors, 2, ids=some["id"][:]))


def test_embeddings_need_an_encoder_of_waveforms(train, tmp_path):
    config = transformers.WhisperConfig(
        d_model=8, encoder_layers=1, decoder_layers=1, encoder_attention_heads=1, decoder_attention_heads=1,
        encoder_ffn_dim=8, decoder_ffn_dim=8, vocab_size=20, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        decoder_start_token_id=1,
    )  # fmt: skip
    transformers.WhisperModel(config).save_pretrained(tmp_path)
    transformers.WhisperFeatureExtractor().save_pretrained(tmp_path)
    with pytest.raises(DistributionError, match="an encoder of waveforms is needed"):
        embed(train.select([0]), str(tmp_path))


def test_nobody_has_no_neighbours(train):
    assert neighbour_features(train.select([])).shape == (0, 82)
    assert nearest_utterances(train.select([]), 2)[0].shape == (0, 2)
    assert nearest_utterances(train.select([3]), 2)[0].tolist() == [[NOBODY, NOBODY]]


def test_wrong_arguments():
    points = np.zeros((3, 2))
    with pytest.raises(DistributionError, match="`k` must be at least 1"):
        find_neighbours(points, 0)
    with pytest.raises(DistributionError, match="Did you mean 'exact'"):
        find_neighbours(points, 1, method="exactly")
    with pytest.raises(DistributionError, match="`within` has 2 entries for 3 rows"):
        find_neighbours(points, 1, within=["a", "b"])
    with pytest.raises(DistributionError, match="`ids` are not unique"):
        find_neighbours(points, 1, ids=["a", "b", "a"])
    with pytest.raises(DistributionError, match="`features` must be finite"):
        find_neighbours(np.full((3, 2), np.nan), 1)
    dataset = datasets.Dataset.from_dict({"id": ["a", "b"], "vector": [[1.0], [1.0, 2.0]]})
    with pytest.raises(ColumnError, match="one length is needed"):
        nearest_utterances(dataset, 1, embeddings="vector")
    with pytest.raises(ColumnError, match="lists of numbers"):
        embedding_features(dataset, "id")
    with pytest.raises(DistributionError, match="Did you mean 'cosine'"):
        embedding_features(dataset, "vector", "cosin")
