"""Checkpoints of audio LMs and adapters to them: what identifies one, whose labels it has seen, how it is loaded."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import math
import threading
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from dime_hf.errors import AnnotationError

if TYPE_CHECKING:
    from dime_hf.annotate.decoding import Draws
    from dime_hf.annotate.families import Family
    from dime_hf.annotate.scoring import Messages, Recordings
    from dime_hf.distribution import Array

TUNED_ON = "dime_hf.json"  # beside the weights: {"tuned_on": [ids]}
CONFIGS = {"checkpoint": "config.json", "adapter": "adapter_config.json"}  # what every one of them has
IGNORED = {TUNED_ON, "README.md"}  # files of a checkpoint that change no answer
QUANTIZATIONS = {"4bit": "load_in_4bit", "8bit": "load_in_8bit"}


def identity(checkpoint: str, revision: str | None = None, argument: str = "checkpoint") -> str:
    """Return a string that names the weights: a content hash for a local folder, `id@commit` for a Hub model.

    `argument` says what they are, a `checkpoint` or an `adapter` to one.
    """
    folder = Path(checkpoint)
    if folder.is_dir():
        files = sorted(f for f in folder.iterdir() if f.is_file() and f.name not in IGNORED and f.name[0] != ".")
        return _content_hash(tuple((f, f.stat().st_size, f.stat().st_mtime_ns) for f in files))
    config = _hub_file(checkpoint, CONFIGS[argument], revision)
    if config is None:
        reason = f"it has no {CONFIGS[argument]}, or the Hub cannot be reached"
        raise AnnotationError(_not_found(checkpoint, revision, reason, argument))
    return f"{checkpoint}@{config.parent.name}"


@functools.lru_cache(maxsize=32)
def _content_hash(stamped: tuple[tuple[Path, int, int], ...]) -> str:
    """Hash names and content of files; the stamps of size and time are there to notice an edit."""
    digest = xxhash.xxh3_128()
    for path, _, _ in stamped:
        digest.update(path.name.encode() + b"\0")
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
    return digest.hexdigest()


def tuned_on(checkpoint: str, revision: str | None = None) -> frozenset[str]:
    """Return the ids of the utterances whose human labels a checkpoint has seen, as `write_tuned_on` left them."""
    path = Path(checkpoint, TUNED_ON) if Path(checkpoint).is_dir() else _hub_file(checkpoint, TUNED_ON, revision)
    if path is None or not path.is_file():
        return frozenset()
    try:
        return frozenset(json.loads(path.read_text(encoding="utf-8"))["tuned_on"])
    except (ValueError, KeyError, TypeError) as error:
        raise AnnotationError(
            f'{path}: expected {{"tuned_on": [ids]}}, the ids of the utterances tuned on ({error!r})'
        ) from error


def write_tuned_on(folder: str | Path, ids: Iterable[str]) -> None:
    """Leave beside a checkpoint the `ids` whose human labels it has seen; `annotate` refuses to ask it about them."""
    content = json.dumps({"tuned_on": sorted(set(ids))}, indent=0)
    Path(folder, TUNED_ON).write_text(content + "\n", encoding="utf-8")


@functools.lru_cache(maxsize=32)
def _hub_file(checkpoint: str, name: str, revision: str | None) -> Path | None:
    """Path of a file of a Hub model in the local cache, in a folder called after the commit; None if it is lacking."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError

    try:
        return Path(hf_hub_download(checkpoint, name, revision=revision))
    except EntryNotFoundError:  # offline, too, when the cache lacks the file
        return None
    except (HfHubHTTPError, HFValidationError) as error:
        raise AnnotationError(_not_found(checkpoint, revision, str(error))) from error


def _not_found(checkpoint: str, revision: str | None, reason: str, argument: str = "checkpoint") -> str:
    at = f" at revision {revision!r}" if revision else ""
    return (
        f"`{argument}` {checkpoint!r} is neither a folder here nor a model of the Hub{at} that can be read: {reason}"
    )


@dataclasses.dataclass
class Room:
    """How much sound at a time is known not to fit in memory: windows times the samples of the longest."""

    too_much: float = math.inf


@dataclasses.dataclass(frozen=True)
class AudioLM:
    """A loaded audio LM; `rate` in Hz and `window` in samples are what its encoder hears at a time."""

    family: Family
    room: Room = dataclasses.field(default_factory=Room)

    @property
    def model(self) -> Any:
        return self.family.model

    @property
    def processor(self) -> Any:
        return self.family.processor

    @property
    def rate(self) -> int:
        return self.family.rate

    @property
    def window(self) -> int:
        return self.family.window

    def plain(self, text: str | None) -> str | None:
        """Break up what the tokenizer would take for a token of the chat: the words of a speaker stay words."""
        return self.family.plain(text)

    def listen(self, waveforms: Sequence[Any]) -> Recordings:
        """Extract the features of waveforms (samples,) at `rate`, once for all questions about them."""
        from dime_hf.annotate.scoring import Recordings

        return Recordings(self.family, waveforms)

    def score(self, recordings: Recordings, questions: Sequence[Sequence[Messages]], options: Sequence[str]) -> Array:
        """Log-probabilities (Q, batch, K), nats, of the `options` as answers to Q questions about every recording."""
        from dime_hf.annotate.tree import score_questions

        return score_questions(self.family, recordings, questions, options)

    def write(
        self,
        recordings: Recordings,
        questions: Sequence[Sequence[Messages]],
        draws: Sequence[Sequence[Draws]],
        max_tokens: Sequence[int],
    ) -> list[list[list[str | None]]]:
        """Answers in words by question, recording and draw; see `decoding.write`."""
        from dime_hf.annotate.decoding import write

        return write(self.family, recordings, questions, draws, max_tokens)


_loaded: dict[tuple[str | None, ...], AudioLM] = {}  # at most one: two large models would not fit
_loading = threading.Lock()  # what is prepared ahead asks for it from another thread


def load(
    checkpoint: str,
    revision: str | None = None,
    dtype: str = "auto",
    device: str = "auto",
    *,
    attention: str | None = None,
    quantization: str | None = None,
    adapter: str | None = None,
    keep: bool = True,
) -> AudioLM:
    """Load a checkpoint with its processor, ready to answer; the last one asked for stays in memory.

    `adapter` is a folder or Hub id of LoRA weights for it; `keep=False` loads one that is about to be changed.
    `attention` is a name that transformers knows (`sdpa`, `flash_attention_2`, `eager`; its own choice if None),
    `quantization` `4bit` or `8bit` by bitsandbytes, which needs a GPU and has never been run here. Raises
    `AnnotationError` where a batch is not answered as its recordings are one by one (see `parity`).
    """
    weights = identity(checkpoint, revision)
    added = None if adapter is None else identity(adapter, argument="adapter")
    key = (checkpoint, weights, dtype, device, attention, quantization, adapter, added)
    with _loading:
        if key in _loaded and keep:
            return _loaded[key]
        _loaded.clear()
        commit = None if Path(checkpoint).is_dir() else weights.rpartition("@")[2]
        lm = _load(checkpoint, commit, dtype, device, attention, quantization, adapter)
        if keep:
            _loaded[key] = lm
        return lm


def _load(
    checkpoint: str,
    commit: str | None,
    dtype: str,
    device: str,
    attention: str | None,
    quantization: str | None,
    adapter: str | None,
) -> AudioLM:
    import torch
    from transformers import AutoConfig

    from dime_hf.annotate.families import family_of
    from dime_hf.annotate.parity import check_parity

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"dtype": dtype, "attn_implementation": attention, **_quantized(quantization, device)}
    try:
        config = AutoConfig.from_pretrained(checkpoint, revision=commit)
        family = family_of(config)
        processor = family.read_processor(checkpoint, commit)
        model, report = family.model_class(config).from_pretrained(
            checkpoint, revision=commit, output_loading_info=True, **options
        )
    except (OSError, ValueError, ImportError) as error:
        raise AnnotationError(
            f"`checkpoint` {checkpoint!r} cannot be loaded as an audio language model: {error}"
        ) from error
    if report["missing_keys"]:
        some = sorted(report["missing_keys"])[:3]
        raise AnnotationError(f"`checkpoint` {checkpoint!r} lacks weights, which would be random: {some} and so on")
    model = model if quantization else model.to(device)
    model = model if adapter is None else adapted(model, adapter).get_base_model()
    lm = AudioLM(family(model.eval(), processor))
    check_parity(lm.family, checkpoint)
    return lm


def adapted(model: Any, adapter: str) -> Any:
    """Put the weights of a LoRA adapter into the layers of a model; return peft's wrapper of it."""
    from peft import PeftConfig, PeftModel

    commit = None if Path(adapter).is_dir() else identity(adapter, argument="adapter").rpartition("@")[2]
    try:
        config = PeftConfig.from_pretrained(adapter, revision=commit)
        if config.is_prompt_learning or getattr(config, "modules_to_save", None):
            raise ValueError(
                "it has weights beside those of layers (a classifier, a soft prompt), so that the model is no "
                'annotator: tune it with the head "options"'
            )
        with warnings.catch_warnings():  # peft only warns, and leaves the layers as they were
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, adapter, revision=commit)
    except (OSError, ValueError, RuntimeError, UserWarning) as error:
        raise AnnotationError(f"`adapter` {adapter!r} cannot be put into the checkpoint: {error}") from error


def _quantized(quantization: str | None, device: str) -> dict[str, Any]:
    """Arguments of `from_pretrained` that load weights in 4 or 8 bits."""
    if quantization is None:
        return {}
    if quantization not in QUANTIZATIONS:
        raise AnnotationError(
            f"`quantization` must be one of {', '.join(QUANTIZATIONS)} or None; got {quantization!r}"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise AnnotationError(
            f"`quantization={quantization!r}` needs the package bitsandbytes, which is not installed: "
            "pip install bitsandbytes"
        )
    from transformers import BitsAndBytesConfig

    return {"quantization_config": BitsAndBytesConfig(**{QUANTIZATIONS[quantization]: True}), "device_map": device}
