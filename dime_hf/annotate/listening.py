"""A batch of utterances as an audio LM hears it: what cannot be heard apart, what is too long in windows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dime_hf import audio
from dime_hf.columns import AUDIO, ID, TEXT
from dime_hf.errors import AudioError

if TYPE_CHECKING:
    from dime_hf.annotate.checkpoints import AudioLM
    from dime_hf.annotate.scoring import Recordings

SHORTEST = 0.1  # seconds; below, Qwen2-Audio's encoder leaves one vector or none of a recording


@dataclasses.dataclass(frozen=True)
class Heard:
    """Utterances (N,), the windows of each (none where it cannot be heard, and then an error), and their features.

    A recording that is longer than the encoder's window is heard in equal windows, one after the other.
    """

    ids: list[str]
    texts: list[str | None]
    windows: list[list[NDArray[np.float32]]]
    errors: list[str | None]
    recordings: Recordings | None  # of all windows; None without any

    @classmethod
    def of(cls, lm: AudioLM, batch: Mapping[str, Sequence[Any]], modality: str = "both") -> Heard:
        """Read the recordings of a batch, and extract their features.

        Without the modality "text" no transcript is shown; without "audio" the same silence is heard of everyone.
        """
        texts = [lm.plain(text) if modality != "audio" else None for text in batch[TEXT]]
        if modality == "text":
            cut = [_silence(lm, text) for text in texts]
        else:
            cut = [_windows(lm, cell) for cell in batch[AUDIO]]
        windows = [found if isinstance(found, list) else [] for found in cut]
        errors = [None if isinstance(found, list) else str(found) for found in cut]
        return cls(list(batch[ID]), texts, windows, errors, _listen(lm, windows))

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def rows(self) -> list[int]:
        """Row of every window."""
        return [row for row, windows in enumerate(self.windows) for _ in windows]

    @property
    def size(self) -> int:
        """Samples of all windows when each is as long as the longest, as a batch has them."""
        lengths = [len(window) for windows in self.windows for window in windows]
        return len(lengths) * max(lengths, default=0)

    def part(self, lm: AudioLM, rows: slice) -> Heard:
        """Some of the utterances."""
        windows = self.windows[rows]
        return Heard(self.ids[rows], self.texts[rows], windows, self.errors[rows], _listen(lm, windows))

    def by_row(self, of_windows: Sequence[Any]) -> list[list[Any]]:
        """What there is for every window, together by utterance."""
        ends = np.cumsum([len(windows) for windows in self.windows]).tolist()
        return [list(of_windows[end - len(windows) : end]) for end, windows in zip(ends, self.windows, strict=True)]


def _windows(lm: AudioLM, cell: Any) -> list[NDArray[np.float32]] | AudioError:
    try:
        samples = audible(audio.read(cell, lm.rate), lm.rate)
    except AudioError as error:
        return error
    return np.array_split(samples, -(-len(samples) // lm.window))


def _silence(lm: AudioLM, text: str | None) -> list[NDArray[np.float32]] | AudioError:
    """One second of nothing, beside the words of an utterance."""
    return [np.zeros(lm.rate, np.float32)] if text else AudioError("no transcript, of which alone it would be judged")


def audible(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Return `samples`, or raise `AudioError` where the model would not hear them."""
    seconds = len(samples) / rate
    if not np.isfinite(samples).all():
        raise AudioError("the recording has samples that are NaN or infinite")
    if seconds < SHORTEST:
        raise AudioError(f"the recording lasts {seconds:.3f} s; the shortest that can be judged lasts {SHORTEST} s")
    return samples


def _listen(lm: AudioLM, windows: Sequence[Sequence[NDArray[np.float32]]]) -> Recordings | None:
    sounds = [sound for of_one in windows for sound in of_one]
    return lm.listen(sounds) if sounds else None
