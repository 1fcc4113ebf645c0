"""Makes `datasets.load_dataset("iemocap", ...)` find the builders of this package, or offers that call itself.

`datasets` has no public way to add a builder. Its table of packaged modules would glob the whole corpus on every load
and ask the network for statistics, so `dataset_module_factory`, which turns a name into a builder, is wrapped instead.
So is `push_to_hub`: see `guard`.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dime_hf.corpora.when_imported import forget, when_imported
from dime_hf.errors import CorpusError, did_you_mean

if TYPE_CHECKING:
    import datasets

BUILDERS = {
    "crema_d": "dime_hf.corpora.crema_d",
    "dime_votes": "dime_hf.corpora.dime_votes",
    "iemocap": "dime_hf.corpora.iemocap",
    "msp_podcast": "dime_hf.corpora.msp_podcast",
}
OF_FILES = ("dime_votes",)  # corpora that are no folder of a known layout
OPT_OUT = "DIME_HF_NO_REGISTER"
_PATCHED = ("datasets.load", "datasets.inspect")  # both modules hold the name of their own


def corpus_of(path: Any) -> str | None:
    """Corpus that a `load_dataset` path means: its name, or its folder `dataset_scripts/<corpus>` in a checkout."""
    if path in BUILDERS:
        return str(path)
    folder = Path(str(path))
    folder = folder.parent if folder.suffix == ".py" else folder
    is_script = folder.name in BUILDERS and folder.absolute().parent.name == "dataset_scripts"
    return folder.name if is_script and (folder / f"{folder.name}.py").is_file() else None


def register() -> None:
    """Let `datasets` know the corpora and guard what they hold, unless the environment has DIME_HF_NO_REGISTER=1.

    Where `datasets` is not imported yet, this happens as soon as it is: it takes most of a second.
    """
    if os.environ.get(OPT_OUT) in (None, "", "0"):
        when_imported("datasets", _patch)


def unregister() -> None:
    """Undo `register`."""
    forget("datasets")
    if "datasets" not in sys.modules:
        return
    from dime_hf.corpora.guard import unguard

    for module in map(importlib.import_module, _PATCHED):
        factory: Any = module.dataset_module_factory
        module.dataset_module_factory = getattr(factory, "unwrapped", factory)  # type: ignore[attr-defined]
    unguard()


def _patch() -> None:
    from dime_hf.corpora.guard import guard

    for module in map(importlib.import_module, _PATCHED):
        if not hasattr(module.dataset_module_factory, "unwrapped"):
            module.dataset_module_factory = _wrap(module.dataset_module_factory)  # type: ignore[attr-defined]
    guard()


def _wrap(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def dataset_module_factory(path: Any, *args: Any, **kwargs: Any) -> Any:
        corpus = corpus_of(path)
        if corpus is None:
            return original(path, *args, **kwargs)
        check_data_files(corpus, kwargs.get("data_files"))
        import datasets.load

        from dime_hf.corpora.builder import code_hash

        return datasets.load.DatasetModule(BUILDERS[corpus], code_hash(), {"dataset_name": corpus})

    dataset_module_factory.unwrapped = original  # type: ignore[attr-defined]
    return dataset_module_factory


def check_data_files(corpus: str, data_files: Any) -> None:
    """Raise `CorpusError` for `data_files` of a corpus that is a folder."""
    if data_files is not None and corpus not in OF_FILES:
        raise CorpusError(f"`data_files` means nothing for {corpus}: give its folder as `data_dir`")


def builder_class(path: str) -> type[datasets.ArrowBasedBuilder]:
    """Builder of a corpus, by its name or its folder `dataset_scripts/<corpus>`."""
    corpus = corpus_of(path)
    if corpus is None:
        raise CorpusError(f"`path` is {path!r}, no corpus of this package.{did_you_mean(str(path), BUILDERS)}")
    module = importlib.import_module(BUILDERS[corpus])
    return module.__dict__["".join(part.capitalize() for part in corpus.split("_"))]


def load_dataset(
    path: str,
    name: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    split: str | datasets.Split | None = None,
    *,
    data_files: Any = None,
    cache_dir: str | None = None,
    features: datasets.Features | None = None,
    download_mode: datasets.DownloadMode | str | None = None,
    keep_in_memory: bool | None = None,
    streaming: bool = False,
    num_proc: int | None = None,
    **config_kwargs: Any,
) -> Any:
    """Load a corpus: what `datasets.load_dataset` does, independent of `register`, without its arguments for the Hub.

    `path` is the corpus ("iemocap", "crema_d"), `name` its config, `data_dir` its folder (`data_files` the votes of
    "dime_votes"), `split` one split or None for all (a `DatasetDict`); further arguments are those of the corpus's
    config (`rows`, `fold`, `missing_audio`, `label_set`, `vote_policy`, ...). Both calls share one cache. Raises
    `CorpusError` when the folder is not the corpus.
    """
    make = builder_class(path)
    check_data_files(str(corpus_of(path)), data_files)
    builder = make(
        cache_dir=cache_dir,
        dataset_name=corpus_of(path),
        config_name=name,
        data_dir=None if data_dir is None else os.fspath(data_dir),
        data_files=data_files,
        features=features,
        **config_kwargs,
    )
    if streaming:
        return builder.as_streaming_dataset(split=split)
    builder.download_and_prepare(download_mode=download_mode, num_proc=num_proc)
    return builder.as_dataset(split=split, in_memory=bool(keep_in_memory))
