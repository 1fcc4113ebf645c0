"""A repository of the Hub that is private where it should be, and refusals that say what to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from dime_hf.errors import HubError

REFUSED = (401, 403)


@contextlib.contextmanager
def refusals_of(repo: str, api: HfApi) -> Iterator[None]:
    """Turn the Hub's refusals into a `HubError` that says what to do; no message holds the token."""
    try:
        yield
    except HfHubHTTPError as error:
        code = getattr(error.response, "status_code", None)
        if code not in REFUSED and not isinstance(error, RepositoryNotFoundError):
            raise
        raise HubError(
            f"{api.endpoint} does not let you write {repo!r} ({code}): log in with `hf auth login`, or give a "
            "`token` of somebody who may write there"
        ) from error


def make_repository(api: HfApi, repo: str, kind: str, *, private: bool, **how: Any) -> str:
    """Make a repository unless it is there, and return its name with its owner's.

    Raises `HubError` where it should be private and is there already, for all to see.
    """
    name = api.create_repo(repo, repo_type=kind, private=private, exist_ok=True, **how).repo_id
    if private and not api.repo_info(name, repo_type=kind).private:
        raise HubError(
            f"{name!r} is public: give `private=False` to share with everybody, another name, or make it private "
            f'(`HfApi().update_repo_settings({name!r}, repo_type="{kind}", private=True)`)'
        )
    return name
