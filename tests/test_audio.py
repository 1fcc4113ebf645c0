"""The one reader: every kind of audio cell, resampling, and files that are no sound."""

import io

import numpy as np
import pytest
import soundfile

from dime_hf import audio
from dime_hf.errors import AudioError

RATE = 16_000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "tone.wav"
    soundfile.write(path, TONE, RATE, subtype="PCM_16")
    return path


def test_every_cell_gives_the_same_sound(wav):
    content = wav.read_bytes()
    decoded = soundfile.read(wav, dtype="float32")[0]
    for cell in (wav, str(wav), content, {"bytes": content, "path": None}, {"bytes": None, "path": str(wav)}):
        np.testing.assert_array_equal(audio.read(cell), decoded)
    for cell in (decoded, {"array": decoded, "sampling_rate": RATE}):
        np.testing.assert_array_equal(audio.read(cell), decoded)
    assert audio.duration(wav) == 1.0


def test_resampling_keeps_pitch_and_stereo_is_averaged():
    stereo = np.stack([TONE, -TONE], axis=1)
    assert np.abs(audio.read({"array": stereo, "sampling_rate": RATE})).max() == 0
    half = audio.read({"array": TONE, "sampling_rate": RATE}, sampling_rate=8_000)
    assert half.dtype == np.float32
    assert np.abs(np.fft.rfft(half)).argmax() == 440  # one second: a bin is a hertz


def test_content_hash_depends_on_content_alone(wav, tmp_path):
    copy = tmp_path / "copy.wav"
    copy.write_bytes(wav.read_bytes())
    assert audio.content_hash({"path": str(wav), "bytes": None}) == audio.content_hash(
        {"path": str(copy), "bytes": None}
    )
    assert audio.content_hash(wav.read_bytes()) == audio.content_hash(str(wav))
    assert audio.content_hash({"array": TONE, "sampling_rate": RATE}) != audio.content_hash(
        {"array": TONE, "sampling_rate": 8000}
    )


def test_encode_wav_round_trip():
    samples, rate = soundfile.read(io.BytesIO(audio.encode_wav(TONE)), dtype="float32")
    assert rate == RATE
    assert np.abs(samples - TONE).max() < 1e-4


@pytest.mark.parametrize(
    ("content", "message"),
    [(POINTER, "git-LFS pointer"), (b"not a sound", "no readable sound"), (b"", "no readable sound")],
)
def test_a_file_without_sound_names_itself(tmp_path, content, message):
    path = tmp_path / "clip.wav"
    path.write_bytes(content)
    with pytest.raises(AudioError, match=rf"clip\.wav: .*{message}"):
        audio.read(str(path))
    with pytest.raises(AudioError, match=rf"clip\.wav: .*{message}"):
        audio.duration(path)
    assert audio.is_lfs_pointer(path) is (content is POINTER)


def test_no_recording(tmp_path):
    with pytest.raises(AudioError, match="null"):
        audio.read({"path": None, "bytes": None})
    with pytest.raises(AudioError, match=r"gone\.wav: cannot be read"):
        audio.read({"path": str(tmp_path / "gone.wav"), "bytes": None})
    with pytest.raises(AudioError, match="no samples"):
        audio.read(np.zeros(0, np.float32))


def test_real_recordings_are_read(shared_data):
    files = sorted((shared_data / "emodb" / "wav").glob("*.wav"))
    assert len(files) == 339
    for path in files:
        samples = audio.read(str(path))
        assert len(samples) == round(audio.duration(path) * RATE)
        assert 0 < np.abs(samples).max() <= 1
