"""One reader for any audio cell, with soundfile and soxr (no torchcodec needed).

An audio cell is a path, the bytes of a file, `{"bytes", "path"}`, `{"array", "sampling_rate"}`, a torchcodec decoder,
or an array.
"""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import xxhash
from numpy.typing import NDArray

from dime_hf.columns import SAMPLING_RATE
from dime_hf.errors import AudioError

# of a wav file with one channel of float32 samples: the rate, and the size of all that follows
FLOAT_WAV = struct.Struct("<4sI4s 4sIHHIIHHH 4sII 4sI")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read(cell: Any, sampling_rate: int = SAMPLING_RATE) -> NDArray[np.float32]:
    """Return the recording of an audio cell as mono float32 (samples,), full scale [-1, 1], at `sampling_rate` Hz.

    Channels are averaged; a bare array is taken to be at `sampling_rate` already, (samples,) or (samples, channels).
    Raises `AudioError`, with the path, when there is no sound, or none that can be read.
    """
    if isinstance(cell, np.ndarray):
        return _mono(cell)
    if (decoded := _decoded(cell)) is not None:
        samples, rate = decoded
    else:
        samples, rate = _decode(cell)
    samples = _mono(samples)
    return samples if rate == sampling_rate else soxr.resample(samples, rate, sampling_rate).astype(np.float32)


def content_hash(cell: Any) -> str:
    """Return a hash of what an audio cell holds: the same for a file's path and for its bytes, whatever its name."""
    if isinstance(cell, np.ndarray):
        return _hash_samples(cell, SAMPLING_RATE)
    if (decoded := _decoded(cell)) is not None:
        return _hash_samples(*decoded)
    return xxhash.xxh3_128_hexdigest(_file_bytes(cell))


def duration(path: str | os.PathLike[str]) -> float:
    """Return the length of a sound file in seconds, read from its header alone."""
    try:
        return soundfile.info(os.fspath(path)).duration
    except soundfile.LibsndfileError as error:
        raise _unreadable(os.fspath(path), Path(path).read_bytes()[:100], error) from error


def is_lfs_pointer(path: str | os.PathLike[str]) -> bool:
    """Whether the file is a git-LFS pointer (about 130 bytes of text) where a recording should be."""
    with open(path, "rb") as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def encode_wav(samples: NDArray[np.float32], sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Return mono samples (samples,) in [-1, 1] as the bytes of a 16-bit wav file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sampling_rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def encode_float_wav(samples: NDArray[np.float32], sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Return mono samples (samples,) as the bytes of a wav file that holds them to the bit, and no time of day."""
    content = np.ascontiguousarray(samples, dtype="<f4")
    return b"".join((float_wav_header(content.nbytes, sampling_rate), content.data))


def float_wav_header(size: int, rate: int = SAMPLING_RATE) -> bytes:
    """Return the bytes that `encode_float_wav` puts before `size` bytes of samples."""
    riff = (b"RIFF", FLOAT_WAV.size - 8 + size, b"WAVE")
    form = (b"fmt ", 18, 3, 1, rate, 4 * rate, 4, 32, 0)  # 3: floating point; one channel of 4 bytes
    return FLOAT_WAV.pack(*riff, *form, b"fact", 4, size // 4, b"data", size)


def _decoded(cell: Any) -> tuple[NDArray[np.float32], int] | None:
    """Samples and rate of a cell that is decoded already."""
    if isinstance(cell, (str, bytes, os.PathLike)) or cell is None:
        return None
    if isinstance(cell, dict):
        return (np.asarray(cell["array"]), cell["sampling_rate"]) if cell.get("array") is not None else None
    return np.asarray(cell["array"]), cell["sampling_rate"]  # a torchcodec AudioDecoder answers to these two keys


def _decode(cell: Any) -> tuple[NDArray[np.float32], int]:
    if (content := _given_bytes(cell)) is None:
        path = _path(cell)
        try:
            return soundfile.read(path, dtype="float32")  # threads decode side by side as long as Python reads no file
        except soundfile.LibsndfileError as error:
            raise _unreadable(path, _file_bytes(cell)[:100], error) from error
    if content[20:24] == b"\3\0\1\0" and content.startswith(b"RIFF"):  # maybe of `encode_float_wav`: no need to decode
        rate, size = int.from_bytes(content[24:28], "little"), len(content) - FLOAT_WAV.size
        if size > 0 and content.startswith(float_wav_header(size, rate)):
            return np.frombuffer(content, "<f4", offset=FLOAT_WAV.size).copy(), rate
    try:
        return soundfile.read(io.BytesIO(content), dtype="float32")
    except soundfile.LibsndfileError as error:
        raise _unreadable(_name(cell), content[:100], error) from error


def _given_bytes(cell: Any) -> bytes | None:
    """Bytes of the sound file that a cell holds."""
    return cell.get("bytes") if isinstance(cell, dict) else cell if isinstance(cell, bytes) else None


def _path(cell: Any) -> str:
    path = cell.get("path") if isinstance(cell, dict) else cell
    if path is None:
        raise AudioError(
            "the audio is null: this utterance has no recording (drop such rows with `missing_audio='drop'`)"
        )
    return os.fspath(path)


def _file_bytes(cell: Any) -> bytes:
    """Bytes of the sound file that a cell holds or points to."""
    if (content := _given_bytes(cell)) is not None:
        return content
    path = _path(cell)
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror or error})") from error


def _unreadable(name: str, start: bytes, error: Exception) -> AudioError:
    if start.startswith(LFS_POINTER):
        return AudioError(
            f"{name}: is a git-LFS pointer, not a recording; fetch the audio with `git lfs pull` in its repository"
        )
    return AudioError(f"{name}: no readable sound file ({error})")


def _name(cell: Any) -> str:
    path = cell.get("path") if isinstance(cell, dict) else None if isinstance(cell, bytes) else cell
    return str(path) if path else "audio given as bytes"


def _mono(samples: NDArray[Any]) -> NDArray[np.float32]:
    samples = np.asarray(samples, dtype=np.float32)
    if samples.size == 0:
        raise AudioError("the recording has no samples")
    return samples.mean(axis=1) if samples.ndim == 2 else samples


def _hash_samples(samples: NDArray[Any], rate: int) -> str:
    return xxhash.xxh3_128_hexdigest(np.ascontiguousarray(samples, dtype=np.float32).tobytes() + str(rate).encode())
