"""`push_to_hub` of `datasets` uploads all columns and the bytes of recordings: not where a licence forbids it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from typing import Any

from dime_hf.errors import LicenceError

FORBIDDEN = "no redistribution"  # in the licence of a corpus that must not be passed on
GUARDED = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")  # of `datasets`


def guard() -> None:
    """Let `push_to_hub` refuse what a corpus's licence forbids, and know the argument `allow_upload`."""
    for cls in guarded():
        if not hasattr(cls.push_to_hub, "unwrapped"):
            cls.push_to_hub = _wrap(cls.push_to_hub)


def unguard() -> None:
    """Undo `guard`."""
    for cls in guarded():
        cls.push_to_hub = unwrapped(cls)


def guarded() -> list[Any]:
    """Classes whose `push_to_hub` is guarded."""
    import datasets  # not above, as in `check`: whatever imports it first may be half imported when it calls `guard`

    return [cls for name in GUARDED if hasattr(cls := getattr(datasets, name), "push_to_hub")]


def unwrapped(cls: Any) -> Callable[..., Any]:
    """The `push_to_hub` of a class of `datasets` as it was made."""
    return getattr(cls.push_to_hub, "unwrapped", cls.push_to_hub)


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def push_to_hub(self: Any, *args: Any, allow_upload: str | Collection[str] = (), **kwargs: Any) -> Any:
        check(self, allow_upload)
        return original(self, *args, **kwargs)

    push_to_hub.unwrapped = original  # type: ignore[attr-defined]
    return push_to_hub


def check(dataset: Any, allow_upload: str | Collection[str] = ()) -> None:
    """Raise `LicenceError` for recordings, words or votes of corpora that forbid it and are not in `allow_upload`."""
    from dime_hf.columns import column_names

    closed = licensed()
    allowed = {allow_upload} if isinstance(allow_upload, str) else set(allow_upload)
    for split in dataset.values() if isinstance(dataset, dict) else [dataset]:
        licence = split.info.license or ""
        if FORBIDDEN not in licence:
            continue
        names = column_names(split) or list(closed)  # a stream that was mapped does not know its columns
        carried = [name for name in closed if name in names]
        refused = [(corpus, own) for corpus, own in _closed() if own in licence and corpus not in allowed]
        if carried and refused:
            raise LicenceError(_refusal({name: closed[name] for name in carried}, dict(refused)))


def _closed() -> Iterator[tuple[str, str]]:
    """Corpora that must not be passed on, with their licences."""
    from dime_hf.corpora.register import BUILDERS, builder_class

    for corpus in BUILDERS:
        licence = builder_class(corpus).BUILDER_CONFIG_CLASS.folder_class.licence
        if FORBIDDEN in licence:
            yield corpus, licence


def licensed() -> dict[str, str]:
    """Columns that a licence may forbid to share, and what they hold."""
    from dime_hf.columns import AUDIO, HUMAN_VOTES, TEXT

    return {AUDIO: "the recordings", TEXT: "the transcripts", HUMAN_VOTES: "the votes"}


def _refusal(carried: dict[str, str], refused: dict[str, str]) -> str:
    what = ", ".join(f"{held} ({name!r})" for name, held in carried.items())
    told = "; ".join(f"{corpus}: {licence}" for corpus, licence in refused.items())
    names = repr(next(iter(refused))) if len(refused) == 1 else repr(tuple(refused))
    return (
        f"`push_to_hub` would upload {what} of a corpus whose licence forbids it ({told}). "
        "`dime_hf.hub.push_to_hub(dataset, repo)` shares ids and soft labels alone; if you may share all of it, say "
        f"so: `push_to_hub(..., allow_upload={names})`"
    )
