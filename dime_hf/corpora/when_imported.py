"""Runs something once a module has been imported, and does not import it for that."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Sequence
from types import ModuleType


def when_imported(name: str, then: Callable[[], None]) -> None:
    """Call `then` after the top-level module `name` was imported: now, where it was already.

    What imports `name` first may itself be half imported then: `then` must do without whatever imports `name`.
    """
    if name in sys.modules:
        then()
        return
    forget(name)
    sys.meta_path.insert(0, _Waiting(name, then))


def forget(name: str) -> None:
    """Call nothing when `name` is imported."""
    sys.meta_path[:] = [
        finder for finder in sys.meta_path if not (isinstance(finder, _Waiting) and finder.name == name)
    ]


class _Waiting(importlib.abc.MetaPathFinder):
    """Finds a module as the other finders do, with a loader that calls `then` in the end."""

    def __init__(self, name: str, then: Callable[[], None]):
        self.name, self.then = name, then

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.name:
            return None
        for finder in sys.meta_path:
            spec = None if isinstance(finder, _Waiting) else finder.find_spec(fullname, path, target)
            if spec is not None:
                self._extend(spec.loader)
                return spec
        return None

    def _extend(self, loader: importlib.abc.Loader | None) -> None:
        """A found module need not be imported (`importlib.util.find_spec`): `then` belongs to its execution."""
        if loader is None:
            return
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            forget(self.name)
            self.then()

        loader.exec_module = exec_module  # type: ignore[method-assign]
