"""Operations of DiME-Aug: what they promise of sound, words and weights, measured on real recordings of EmoDB."""

import dataclasses
import io
import json
import pickle
import random
import subprocess
import sys

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dime_hf.augment.operations import (
    OPERATIONS,
    PERTURBATIONS,
    Background,
    Codec,
    Concatenate,
    Gain,
    Mask,
    Operation,
    Paraphrase,
    Perturb,
    Pitch,
    RecordedBackground,
    Room,
    Synonyms,
    Tempo,
    TextNoise,
    Utterance,
    get_operation,
    paraphrase_with,
)
from dime_hf.augment.operations.channel import CODECS
from dime_hf.augment.operations.levels import level
from dime_hf.errors import AnnotationError, AudioError, DistributionError, PackageError
from tests.places import DATA

RATE = 16_000
WORDS = "Oh no, don't you 'dare' go there! [LAUGHTER] It's half-past seven."
SPEAKERS = ("03a01Fa", "08a01Wc", "09a02Wb", "10b02Wb", "15b09Nb")  # recordings of five
STYLE = {"lower": False, "bare": False, "filler_rate": 0.0, "repeat_rate": 0.0, "fillers": ["um"], "seed": 0}
own = [
    Synonyms(synonyms={"go": ["walk"], "seven": ["7"]}),
    Paraphrase(model="tiny", generate=lambda texts: [t[::-1] for t in texts]),
]
EVERY = [*OPERATIONS.values(), *own]


@pytest.fixture(scope="module")
def clips():
    """Five speakers of EmoDB, 1.6 to 2.9 seconds each, normalised to full scale."""
    folder = DATA / "emodb" / "wav"
    if not folder.is_dir():
        pytest.skip(f"no EmoDB in {folder} (set DIME_HF_DATA to the folder that has it)")
    return [soundfile.read(folder / f"{name}.wav", dtype="float32")[0] for name in SPEAKERS]


def noise(length=RATE, seed=0, scale=0.1):
    return (scale * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def speech(seed=0):
    """Speech-like: noise in syllables, with headroom."""
    return noise(seed=seed) * np.abs(np.sin(np.arange(RATE) * 2 * np.pi * 3 / RATE)).astype(np.float32)


def applied(operation, samples, text=None, **parameters):
    return operation.apply([Utterance(samples, text)] * operation.parents, parameters)


def decibels(ratio):
    return 20 * np.log10(ratio)


def by_name(operation):
    return operation.name


# promises of every operation


@pytest.mark.parametrize("operation", EVERY, ids=by_name)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_drawn_parameters_are_json_and_accepted(operation, seed):
    parameters = operation.draw(np.random.default_rng(seed))
    again = json.loads(json.dumps(parameters, sort_keys=True))
    assert again == parameters == operation.draw(np.random.default_rng(seed))
    operation.apply([Utterance(noise(400), WORDS)] * operation.parents, again)


@pytest.mark.parametrize("operation", EVERY, ids=by_name)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_weights_keep_the_mass(operation, data):
    """The label is a distribution between those of the parents, class by class."""
    durations = data.draw(st.lists(st.floats(1e-3, 100), min_size=operation.parents, max_size=operation.parents))
    labels = data.draw(arrays(float, (operation.parents, 5), elements=st.floats(0.01, 1)))
    labels /= labels.sum(1, keepdims=True)
    parameters = operation.draw(np.random.default_rng(data.draw(st.integers(0, 99))))
    weights = operation.weights(durations, parameters)
    assert weights.shape == (operation.parents,)
    assert (weights >= 0).all()
    assert weights.sum() == pytest.approx(1, abs=1e-12)
    label = weights @ labels
    assert label.sum() == pytest.approx(1, abs=1e-12)
    assert (label >= labels.min(0) - 1e-12).all()
    assert (label <= labels.max(0) + 1e-12).all()
    if operation.parents == 1:
        np.testing.assert_array_equal(label, labels[0])


@pytest.mark.parametrize("operation", EVERY, ids=by_name)
def test_same_parameters_same_bits_and_no_global_state(operation):
    parents = [Utterance(speech(seed), WORDS) for seed in range(operation.parents)]
    before = [parent.samples.copy() for parent in parents]
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 (that nobody touches it is the point)
    for seed in range(4):
        parameters = operation.draw(np.random.default_rng(seed))
        first, second = (operation.apply(parents, parameters) for _ in range(2))
        assert first.samples.tobytes() == second.samples.tobytes()
        assert first.text == second.text
    assert random.getstate() == python
    assert all(np.array_equal(a, b) for a, b in zip(legacy, np.random.get_state(), strict=True))  # noqa: NPY002
    for parent, samples in zip(parents, before, strict=True):
        np.testing.assert_array_equal(parent.samples, samples)


FRESH = """
import hashlib, numpy as np
from dime_hf.augment.operations import OPERATIONS, Utterance
samples = (0.1 * np.random.default_rng(0).standard_normal(8000)).astype(np.float32)
digest = hashlib.sha256()
for operation in OPERATIONS.values():
    parents = [Utterance(samples, "so it is")] * operation.parents
    made = operation.apply(parents, operation.draw(np.random.default_rng(1)))
    digest.update(made.samples.tobytes() + made.text.encode())
"""


def test_other_processes_make_the_same_bits():
    here = {}
    exec(FRESH, here)
    output = subprocess.run(
        [sys.executable, "-c", f"{FRESH}print(digest.hexdigest())"], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == here["digest"].hexdigest()


@pytest.mark.parametrize("operation", EVERY, ids=by_name)
@pytest.mark.parametrize("length", [1, 2, 7, 100, 1000])
def test_clips_that_are_too_short_or_silent(operation, length):
    for seed in range(3):
        parameters = operation.draw(np.random.default_rng(seed))
        silent = operation.apply([Utterance(np.zeros(length, np.float32), None)] * operation.parents, parameters)
        assert not silent.samples.any()
        assert silent.text is None
        loud = operation.apply([Utterance(noise(length, scale=0.5).clip(-1, 1), "")] * operation.parents, parameters)
        assert loud.samples.dtype == np.float32
        assert loud.samples.ndim == 1
        assert len(loud.samples) >= 1
        assert np.abs(loud.samples).max() <= 1
        assert loud.text == ""


@pytest.mark.parametrize("weight", [-0.1, 1.1, None, "0.5"])
def test_weights_that_are_none_are_refused(weight):
    for refused in (lambda o, p: o.weights([1.0, 1.0], p), lambda o, p: applied(o, speech(), WORDS, **p)):
        with pytest.raises(DistributionError, match="'weight' of 'interpolate'"):
            refused(OPERATIONS["interpolate"], {"weight": weight})


def test_names():
    assert set(OPERATIONS) == {
        "interpolate", "concatenate", "perturb", "tempo", "pitch", "room", "background", "gain", "codec", "mask",
        "text_noise",
    }  # fmt: skip
    assert get_operation("tempo") is OPERATIONS["tempo"]
    wide = Tempo(most=0.2)
    assert get_operation("tempo", own=[wide]) is wide
    with pytest.raises(DistributionError, match="construct Paraphrase"):
        get_operation("paraphrase")
    with pytest.raises(DistributionError, match="Did you mean 'tempo'"):
        get_operation("temp")


# the safe bounds


@pytest.mark.parametrize(
    ("operation", "safe", "parameter", "beyond"),
    [
        (Tempo, {"rate": 1.08}, "rate", 1.09),
        (Tempo, {"rate": 0.92}, "rate", 0.91),
        (Pitch, {"semitones": 0.5}, "semitones", -0.6),
        (Gain, {"decibels": -20.0}, "decibels", -21.0),
        (Background, {"snr": 20.0, "tilt": 3.0, "seed": 1}, "snr", 19.0),
        (Room, {"decay": 0.4, "direct": 10.0, "seed": 1}, "decay", 0.7),
        (Room, {"decay": 0.4, "direct": 10.0, "seed": 1}, "direct", 3.0),
        (Mask, {"frequency": 2000.0, "octaves": 1 / 3, "gap": 0.05, "at": 0.5}, "gap", 0.2),
        (Mask, {"frequency": 2000.0, "octaves": 1 / 3, "gap": 0.05, "at": 0.5}, "frequency", 300.0),
        (TextNoise, {**STYLE, "repeat_rate": 0.1}, "repeat_rate", 0.3),
    ],
)  # fmt: skip
def test_parameters_beyond_the_safe_bounds_are_refused(operation, safe, parameter, beyond):
    applied(operation(), speech(), WORDS, **safe)
    for value, message in ((beyond, "the label may change"), (float("nan"), "a number"), ("1", "a number")):
        with pytest.raises(DistributionError, match=message) as refusal:
            applied(operation(), speech(), WORDS, **{**safe, parameter: value})
        assert repr(parameter) in str(refusal.value)
    without = {name: value for name, value in safe.items() if name != parameter}
    with pytest.raises(DistributionError, match="not None"):
        applied(operation(), speech(), WORDS, **without)
    with pytest.raises(DistributionError, match="given 2"):
        operation().apply([Utterance(speech(), WORDS)] * 2, safe)


def test_wider_bounds_are_asked_for_by_name():
    slow = applied(Tempo(most=0.3), speech(), rate=0.75)
    assert len(slow.samples) == pytest.approx(RATE / 0.75, abs=1)
    applied(Background(least_snr=0), speech(), snr=5.0, tilt=0.0, seed=1)
    steps = [{"operation": "tempo", "parameters": {"rate": 0.75}}]
    applied(Perturb(operations=(Tempo(most=0.3),)), speech(), steps=steps)
    with pytest.raises(DistributionError, match="'rate' of 'tempo'"):
        applied(Perturb(), speech(), steps=steps)
    with pytest.raises(TypeError):
        Tempo(0.3)
    for construct in (
        lambda: Tempo(most=0.9), lambda: Pitch(most=-1), lambda: Gain(softer=-1), lambda: Room(longest=0),
        lambda: Background(least_snr=float("nan")), lambda: Mask(widest=3), lambda: TextNoise(most=2),
        lambda: Concatenate(longest_fade=0.01), lambda: Perturb(most=0), lambda: Perturb(operations=(Tempo(),) * 2),
        lambda: Codec(codecs=()), lambda: Codec(codecs=("mp4",)), lambda: TextNoise(fillers=()),
    ):  # fmt: skip
        with pytest.raises(DistributionError):
            construct()


# sound, on real recordings


def semitones(samples):
    """F0 (frames,) by pyin, in semitones above 100 Hz; NaN where unvoiced."""
    hertz = librosa.pyin(samples, fmin=60, fmax=450, sr=RATE, frame_length=1024, hop_length=512)[0]
    return 12 * np.log2(hertz / 100)


@pytest.fixture(scope="module")
def melodies(clips):
    return [(clip, semitones(clip)) for clip in clips[:3]]


@pytest.mark.parametrize(
    ("name", "parameters", "shift"),
    [
        ("tempo", {"rate": 0.92}, 0),
        ("tempo", {"rate": 1.08}, 0),
        ("pitch", {"semitones": -0.5}, -0.5),
        ("pitch", {"semitones": 0.5}, 0.5),
        ("room", {"decay": 0.4, "direct": 10.0, "seed": 1}, 0),
        ("background", {"snr": 20.0, "tilt": 3.0, "seed": 1}, 0),
        ("codec", {"codec": "gsm"}, 0),
        ("mask", {"frequency": 1500.0, "octaves": 1 / 3, "gap": 0.05, "at": 0.4}, 0),
    ],
)
def test_f0_moves_as_promised(melodies, name, parameters, shift):
    """Median to a tenth of a semitone frame by frame; its median and range over the clip as well as pyin can tell."""
    for clip, before in melodies:
        after = semitones(applied(OPERATIONS[name], clip, **parameters).samples)
        frames = np.round(np.arange(len(before)) / parameters.get("rate", 1)).astype(int)
        after = after[np.minimum(frames, len(after) - 1)]
        both = np.isfinite(before) & np.isfinite(after)
        assert both.sum() > 10
        assert np.median((after - before)[both]) == pytest.approx(shift, abs=0.11)
        assert np.median(after[both]) - np.median(before[both]) == pytest.approx(shift, abs=0.7)
        ranges = [np.subtract(*np.percentile(melody[both], [90, 10])) for melody in (after, before)]
        assert ranges[0] - ranges[1] == pytest.approx(0, abs=1.5)


@pytest.mark.parametrize("operation", [o for o in PERTURBATIONS if o.name != "gain"], ids=by_name)
def test_level_is_kept_below_full_scale(clips, operation):
    """With 6 dB of headroom exactly, at full scale never higher; nothing clips."""
    for seed, clip in enumerate(clips):
        parameters = operation.draw(np.random.default_rng(seed))
        made = applied(operation, clip / 2, **parameters).samples
        assert decibels(level(made) / level(clip / 2)) == pytest.approx(0, abs=1e-3)
        made = applied(operation, clip, **parameters).samples
        assert decibels(level(made) / level(clip)) < 1e-3
        assert np.abs(made).max() <= 1
        assert len(made) == (
            pytest.approx(len(clip) / parameters["rate"], abs=1) if "rate" in parameters else len(clip)
        )


@pytest.mark.parametrize(("name", "value"), [("rate", 0.93), ("rate", 1.07), ("semitones", 0.4)])
def test_tempo_and_pitch_are_those_of_audiomentations(clips, name, value):
    audiomentations = pytest.importorskip("audiomentations")
    if name == "rate":
        theirs = audiomentations.TimeStretch(leave_length_unchanged=False, p=1.0)
        ours = Tempo()
    else:
        theirs, ours = audiomentations.PitchShift(p=1.0), Pitch()
    theirs.parameters = {"should_apply": True, "rate": value, "num_semitones": value}
    theirs.freeze_parameters()
    for clip in clips[:2]:
        expected, made = theirs(clip / 2, RATE), applied(ours, clip / 2, **{name: value}).samples
        np.testing.assert_allclose(made, expected * (level(clip / 2) / level(expected)), atol=1e-6)


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "python_stretch", None)
    for name, parameters in (("tempo", {"rate": 1.0}), ("pitch", {"semitones": 0.1})):
        with pytest.raises(PackageError, match=r"pip install 'dime_hf\[augment\]'"):
            applied(OPERATIONS[name], speech(), **parameters)


def test_gain_is_exact_and_stops_at_full_scale(clips):
    made = applied(Gain(), clips[0], decibels=-12.5).samples
    np.testing.assert_allclose(made, clips[0] * 10 ** (-12.5 / 20), rtol=1e-6)
    quiet = clips[0] / 10
    np.testing.assert_allclose(applied(Gain(), quiet, decibels=20.0).samples, clips[0], rtol=1e-5)
    made = applied(Gain(), quiet, decibels=20.0 - 1e-9).samples
    louder = applied(Gain(), clips[0] / 2, decibels=20.0).samples
    assert np.abs(louder).max() == 1
    assert np.corrcoef(louder, made)[0, 1] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("snr", [20.0, 27.5, 40.0])
def test_snr_is_that_of_the_parameters(clips, snr):
    """What is left of the sound after the utterance's share of it (least squares) is the noise."""
    for clip in clips:
        made = applied(Background(), clip / 2, snr=snr, tilt=0.0, seed=5).samples.astype(np.float64)
        share = made @ (clip / 2) / np.sum(np.square(clip / 2, dtype=np.float64))
        rest = made - share * clip / 2
        assert decibels(share * level(clip / 2) / level(rest)) == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize("tilt", [0.0, 3.0, 6.0])
def test_background_falls_by_its_tilt(tilt):
    """The noise alone, with a click as utterance, has a spectrum that falls by `tilt` dB an octave."""
    click = np.zeros(8 * RATE, np.float32)
    click[0] = 0.5
    made = applied(Background(least_snr=-20), click, snr=-20.0, tilt=tilt, seed=3).samples[1:]
    frequencies, power = scipy.signal.welch(made, RATE, nperseg=1024)
    band = (frequencies > 150) & (frequencies < 7000)
    slope = np.polyfit(np.log2(frequencies[band]), 10 * np.log10(power[band]), 1)[0]
    assert slope == pytest.approx(-tilt, abs=0.15)


@pytest.mark.parametrize(("decay", "direct"), [(0.2, 10.0), (0.4, 10.0), (0.4, 20.0)])
def test_a_room_has_its_decay_and_its_direct_sound(decay, direct):
    """An impulse comes back as the room's response: energies, and Schroeder's backward integral for the decay."""
    impulse = np.zeros(RATE, np.float32)
    impulse[0] = 0.5
    response = applied(Room(), impulse, decay=decay, direct=direct, seed=2).samples.astype(np.float64)
    assert 20 * np.log10(response[0] / np.linalg.norm(response[1:])) == pytest.approx(direct, abs=1e-3)
    assert np.abs(response[1:40]).max() < 1e-9
    left = 10 * np.log10(np.cumsum(np.square(response[:0:-1]))[::-1])
    left -= left[0]
    fall = (left < -5) & (left > -25)
    slope = np.polyfit(np.flatnonzero(fall) / RATE, left[fall], 1)[0]
    assert -60 / slope == pytest.approx(decay, rel=0.1)


@pytest.mark.parametrize(
    ("codec", "correlation"), [("mp3", 0.98), ("vorbis", 0.97), ("opus", 0.97), ("gsm", 0.65), ("mu_law", 0.85)]
)
def test_codecs_keep_length_and_timing(clips, codec, correlation):
    for clip in clips:
        made = applied(Codec(), clip, codec=codec).samples
        assert len(made) == len(clip)
        lags = scipy.signal.correlate(made, clip, method="fft")
        assert lags.argmax() == len(clip) - 1  # no delay
        assert correlation < np.corrcoef(made, clip)[0, 1] < 0.99999
        if CODECS[codec][0] == 8000:
            power = np.abs(np.fft.rfft(made)) ** 2
            assert power[len(power) * 9 // 16 :].sum() < 1e-3 * power.sum()  # above 4.5 kHz
    with pytest.raises(DistributionError, match="'codec' of 'codec' must be one of mp3"):
        applied(Codec(codecs=("mp3",)), clips[0], codec="gsm")


def test_a_mask_takes_its_band_and_its_moment():
    white = noise(8 * RATE, scale=0.05)
    parameters = {"frequency": 2000.0, "octaves": 1 / 3, "gap": 0.05, "at": 0.5}
    made = applied(Mask(), white, **parameters).samples
    frequencies, before = scipy.signal.welch(white, RATE, nperseg=1024)
    lost = 10 * np.log10(before / scipy.signal.welch(made, RATE, nperseg=1024)[1])
    assert lost[np.argmin(np.abs(frequencies - 2000))] > 25
    assert np.abs(lost[(frequencies < 1500) | (frequencies > 2700)]).max() < 1
    start = round(0.5 * (len(white) - 800))
    assert level(made[start + 100 : start + 700]) == 0
    assert level(made[start - 800 : start]) == pytest.approx(level(white[start - 800 : start]), rel=0.15)
    assert level(made[start + 800 : start + 1600]) > 0.03


def test_recordings_as_background(tmp_path, clips):
    (tmp_path / "rain").mkdir()
    soundfile.write(tmp_path / "rain" / "ROOF.WAV", noise(RATE // 2, seed=9), RATE)
    soundfile.write(tmp_path / "silence.flac", np.zeros(100), RATE)
    (tmp_path / "notes.txt").write_text("no sound")
    operation = RecordedBackground(folder=tmp_path)
    assert operation.recordings == ("rain/ROOF.WAV", "silence.flac")
    drawn = [operation.draw(np.random.default_rng(seed)) for seed in range(20)]
    assert {parameters["recording"] for parameters in drawn} == {"rain/ROOF.WAV", "silence.flac"}
    clip, start = clips[0] / 2, 0.25
    made = applied(operation, clip, recording="rain/ROOF.WAV", snr=20.0, start=start).samples
    repeated = np.tile(soundfile.read(tmp_path / "rain" / "ROOF.WAV")[0], 9)[RATE // 8 :][: len(clip)]
    share, rain = np.linalg.lstsq(np.stack([clip, repeated], 1).astype(np.float64), made, rcond=None)[0]
    np.testing.assert_allclose(share * clip + rain * repeated, made, atol=1e-6)
    assert decibels(share * level(clip) / (rain * level(repeated))) == pytest.approx(20, abs=0.01)
    with pytest.raises(AudioError, match=r"silence\.flac: silent"):
        applied(operation, clip, recording="silence.flac", snr=20.0, start=0.0)
    with pytest.raises(AudioError, match=r"thunder\.wav"):
        applied(operation, clip, recording="thunder.wav", snr=20.0, start=0.0)
    with pytest.raises(DistributionError, match="'recording' of 'recorded_background'"):
        applied(operation, clip, snr=20.0, start=0.0)
    with pytest.raises(AudioError, match="no sound files"):
        RecordedBackground(folder=tmp_path / "rain" / "nowhere").draw(np.random.default_rng(0))


# concatenate


def test_concatenated_utterances_follow_each_other(clips):
    first, second = clips[0], clips[1] * 0.9
    parameters = {"fade": 0.03, "level_gap": 20.0}
    made = Concatenate().apply([Utterance(first, "So. "), Utterance(second, "What now?")], parameters)
    assert len(made.samples) == len(first) + len(second) - 480
    assert made.text == "So. What now?"
    assert made.samples.dtype == np.float32
    scale = made.samples[:1000] @ first[:1000] / (first[:1000] @ first[:1000])  # 1 unless the join overshoots
    assert scale == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(made.samples[: len(first) - 480], first[:-480])
    np.testing.assert_array_equal(made.samples[len(first) :], second[480:])
    np.testing.assert_allclose(Concatenate().weights([3.0, 1.0], parameters), [0.75, 0.25])


def test_the_cross_fade_keeps_the_power():
    """Averaged over many joins of independent noise, the power through the join is that on either side."""
    power = np.zeros(4000)
    for seed in range(300):
        parents = [Utterance(noise(2400, seed=2 * seed + part), None) for part in (0, 1)]
        power += np.square(Concatenate().apply(parents, {"fade": 0.05, "level_gap": 6.0}).samples, dtype=float)
    across = power.reshape(-1, 200).mean(1) / 300
    np.testing.assert_allclose(across, 0.01, rtol=0.05)


def test_only_what_is_much_louder_is_lowered():
    soft, louder, loudest = (noise(RATE, seed=seed, scale=scale) for seed, scale in enumerate((0.01, 0.015, 0.1)))
    parents = [Utterance(samples, None) for samples in (soft, louder, loudest, np.zeros(RATE, np.float32))]
    made = Concatenate().apply(parents, {"fade": 0.02, "level_gap": 6.0}).samples
    parts = [made[start : start + 14000] for start in (500, RATE, 2 * RATE)]
    np.testing.assert_array_equal(parts[0], soft[500:14500])
    assert level(parts[1]) == pytest.approx(level(louder), rel=0.02)
    assert decibels(level(parts[2]) / level(soft)) == pytest.approx(6, abs=0.1)


def test_concatenate_refuses_what_it_cannot_do():
    one, usual = Utterance(noise(), "a"), {"fade": 0.03, "level_gap": 6.0}
    with pytest.raises(DistributionError, match="given 1"):
        Concatenate().apply([one], usual)
    for bad in ({"fade": 0.01}, {"fade": 2.0}, {"fade": None}, {"level_gap": -1.0}):
        with pytest.raises(DistributionError, match="`parameters`"):
            Concatenate().apply([one, one], {**usual, **bad})
    with pytest.raises(DistributionError, match="`durations`"):
        Concatenate().weights([1.0, 0.0], usual)
    texts = [[None, None], [None, "a"], ["", "a "], ["", ""], [None, ""]]
    joined = [Concatenate().apply([Utterance(noise(), text) for text in pair], usual).text for pair in texts]
    assert joined == [None, "a", "a", "", ""]


# perturb


def test_perturb_takes_some_of_its_operations_in_order():
    order = [operation.name for operation in PERTURBATIONS]
    drawn = [[s["operation"] for s in Perturb().draw(np.random.default_rng(seed))["steps"]] for seed in range(300)]
    assert {len(names) for names in drawn} == {1, 2, 3}
    assert {name for names in drawn for name in names} == set(order)
    for names in drawn:
        assert names == sorted(names, key=order.index)


def test_perturb_is_its_steps_one_after_another():
    parameters = Perturb(most=8).draw(np.random.default_rng(3))
    made = Perturb(most=8).apply([Utterance(speech(), WORDS)], parameters)
    step_by_step = Utterance(speech(), WORDS)
    for step in parameters["steps"]:
        step_by_step = OPERATIONS[step["operation"]].apply([step_by_step], step["parameters"])
    assert len(parameters["steps"]) > 3
    np.testing.assert_array_equal(made.samples, step_by_step.samples)
    assert made.text == step_by_step.text


def test_perturb_refuses_unknown_and_repeated_steps():
    step = {"operation": "tempo", "parameters": {"rate": 1.05}}
    for steps, message in (
        ([step, step], "each operation once"),
        ([{**step, "operation": "temp"}], "Did you mean 'tempo'"),
        ("tempo", "a list of steps"),
        ([{"operation": "tempo"}], "'rate' of 'tempo'"),
        ([], "1 to 3 steps"),
        ([{"operation": name, "parameters": {}} for name in ("tempo", "pitch", "room", "gain")], "not 4"),
    ):
        with pytest.raises(DistributionError, match=message):
            applied(Perturb(), speech(), steps=steps)


# words


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ({}, WORDS),
        ({"lower": True}, "oh no, don't you 'dare' go there! [LAUGHTER] it's half-past seven."),
        ({"bare": True}, "Oh no don't you dare go there [LAUGHTER] It's half-past seven"),
    ],
)
def test_case_and_punctuation(style, expected):
    made = applied(TextNoise(), speech(), WORDS, **STYLE | style)
    assert made.text == expected
    np.testing.assert_array_equal(made.samples, speech())


def test_disfluencies_come_at_their_rate():
    text = " ".join(f"w{number}" for number in range(20_000))
    words = applied(TextNoise(), speech(), text, **STYLE | {"filler_rate": 0.1, "repeat_rate": 0.05}).text.split()
    assert words.count("um") / 20_000 == pytest.approx(0.1, abs=0.01)
    spoken = [word for word in words if word != "um"]
    assert (len(spoken) - 20_000) / 20_000 == pytest.approx(0.05, abs=0.01)
    assert list(dict.fromkeys(spoken)) == text.split()


@settings(deadline=None)
@given(text=st.text(max_size=60), seed=st.integers(0, 999))
def test_text_noise_keeps_words_and_their_order(text, seed):
    parameters = dict(TextNoise().draw(np.random.default_rng(seed)), fillers=["∅"])
    made = applied(TextNoise(), np.zeros(1, np.float32), text, **parameters).text
    if not text.strip():
        assert made == text
        return
    assert made.strip()
    letters = [character.lower() for character in text if character.isalnum()]
    left = iter(character.lower() for character in made)
    assert all(letter in left for letter in letters)  # a subsequence: nothing is lost


def test_synonyms_keep_case_and_punctuation():
    operation = Synonyms(synonyms={"no": ["nay"], "don't": ["never"], "seven": ["7"]}, most=1.0)
    made = applied(operation, speech(), "No, don't. At seven!", share=1.0, seed=1).text
    assert made == "Nay, never. At 7!"
    some = [applied(operation, speech(), "No, don't. At seven!", share=0.25, seed=seed).text for seed in range(30)]
    assert 15 < sum(applied(operation, speech(), "no", share=0.5, seed=seed).text == "nay" for seed in range(50)) < 35
    assert set(some) == {"Nay, don't. At seven!", "No, never. At seven!", "No, don't. At 7!"}
    assert applied(operation, speech(), "other  words", share=1.0, seed=1).text == "other  words"
    with pytest.raises(DistributionError, match="`synonyms` of 'no'"):
        Synonyms(synonyms={"no": "nay"})


def test_paraphrases_are_asked_for_once():
    asked = []

    def generate(texts):
        asked.append(texts)
        return [{"blank": " ", "long": "so " * 20}.get(text, f"i.e.\n{text}") for text in texts]

    operation = Paraphrase(model="tiny", generate=generate)
    operation.ask(["one", None, "", "two", "one", "blank"])
    assert [applied(operation, speech(), text).text for text in ("one", "two", "blank", "long", "one", None, "")] == [
        "i.e. one", "i.e. two", "blank", "long", "i.e. one", None, "",
    ]  # fmt: skip
    assert asked == [["one", "two", "blank"], ["long"]]
    assert operation.failures == 2
    elsewhere = pickle.loads(pickle.dumps(dataclasses.replace(operation, generate=len)))
    assert applied(elsewhere, speech(), "two").text == "i.e. two"
    with pytest.raises(AnnotationError, match="`ask` for them before"):
        applied(elsewhere, speech(), "three")
    for reply in (["one"], "xy", [1, 2], None):
        with pytest.raises(AnnotationError, match="a list of 2 texts"):
            Paraphrase(model="tiny", generate=lambda _, reply=reply: reply).ask(["a", "b"])


def test_a_text_generation_pipeline_paraphrases():
    """A real pipeline with a tiny model of random weights: batches of prompts in, one line each out."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, pipeline

    words = ["<end>", "say", "the", "same", "in", "other", "words", "stop", "go", "now"]
    bare = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, unk_token="<end>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<end>", pad_token="<end>", unk_token="<end>")
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=len(words), n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0)
    generate = paraphrase_with(
        pipeline("text-generation", model=GPT2LMHeadModel(config).eval(), tokenizer=tokenizer, device="cpu"),
        prompt="say the same in other words {text}",
        max_new_tokens=4,
    )
    texts = ["stop now", "go"]
    replies = generate(texts)
    assert replies == generate(texts)
    assert len(replies) == 2
    assert all(set(reply.split()) <= set(words) for reply in replies)
    operation = Paraphrase(model="tiny", generate=generate)
    assert applied(operation, speech(), "go").text == (" ".join(replies[1].split()) or "go")


def test_no_operation_is_half_made():
    for operation in OPERATIONS.values():
        assert isinstance(operation, Operation)
        assert type(operation).__doc__
        json.dumps(operation.draw(np.random.default_rng(0)))
        assert io.BytesIO(pickle.dumps(operation)).getvalue()  # goes to other processes


@pytest.mark.parametrize("name", [*OPERATIONS])
def test_duration_is_foretold(clips, name):
    operation = OPERATIONS[name]
    parents = [Utterance(clip, "words") for clip in clips[: operation.parents]]
    seconds = [len(parent.samples) / RATE for parent in parents]
    for seed in range(5):
        parameters = operation.draw(np.random.default_rng(seed))
        made = operation.apply(parents, parameters)
        assert operation.duration(seconds, parameters) == pytest.approx(len(made.samples) / RATE, abs=2e-3)
