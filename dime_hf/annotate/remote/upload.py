"""What may leave the machine: recordings and transcripts only of corpora that the user names."""

from __future__ import annotations

import ipaddress
import urllib.request
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from datasets import Dataset

from dime_hf.columns import CORPUS, column_names
from dime_hf.corpora.folder import TOY_LICENCE
from dime_hf.errors import AnnotationError

UNKNOWN = "unknown"  # name of what comes from no corpus that is known
HUB = "the Inference Providers of Hugging Face"


def stays_here(base_url: str | None) -> bool:
    """Whether what is sent to an endpoint stays on this machine: a loopback address, and no proxy in between.

    >>> stays_here("http://127.0.0.1:8000/v1"), stays_here("https://api.openai.com/v1")
    (True, False)
    """
    host = urlsplit(base_url or "").hostname or ""
    if host != "localhost" and not _is_loopback(host):
        return False
    proxies = urllib.request.getproxies()
    through = proxies.get(urlsplit(base_url or "").scheme) or proxies.get("all")
    return not through or bool(urllib.request.proxy_bypass(host))


def check_upload(dataset: Any, allowed: Iterable[str], endpoint: str | None) -> None:
    """Raise `AnnotationError` unless every corpus in `dataset` is the toy corpus or among the `allowed` names."""
    if refused := sorted(origins(dataset) - set(allowed)):
        raise AnnotationError(
            f"`allow_upload`: recordings and transcripts of {', '.join(map(repr, refused))} would be sent to "
            f"{where(endpoint)}. If the licence lets you do that, say so: allow_upload={_spelt(refused)}"
        )


def origins(dataset: Any) -> set[str]:
    """Names of the corpora in a dataset whose recordings are not free: by its `corpus` column, or by its builder."""
    about = dataset.info
    if about.license == TOY_LICENCE:
        return set()
    if CORPUS not in column_names(dataset):
        return {about.dataset_name or about.builder_name or UNKNOWN}
    if not isinstance(dataset, Dataset):
        return {UNKNOWN}  # a stream tells its rows' corpora only when they come by
    return {name or UNKNOWN for name in dataset.unique(CORPUS)}


def where(endpoint: str | None) -> str:
    """The place that an endpoint is, in words."""
    host = urlsplit(endpoint).hostname if endpoint else HUB
    proxied = _is_loopback(host or "") or host == "localhost"
    return f"{host} through the proxy that the environment names (NO_PROXY exempts it)" if proxied else str(host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _spelt(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else repr(tuple(names))
