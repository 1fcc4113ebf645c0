"""Prepare the next batch in a thread while the model answers this one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[tuple[Item, Result]]:
    """Yield every item with what `function` makes of it; the next item is in work while the caller has this one.

    What `function` raises is raised here, at its item. The thread never keeps a process from ending.
    """
    waiting: tuple[Item, _Later[Result]] | None = None
    for item in items:
        following = (item, _Later(function, item))
        if waiting:
            yield waiting[0], waiting[1].result()
        waiting = following
    if waiting:
        yield waiting[0], waiting[1].result()


class _Later(threading.Thread, Generic[Result]):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[[Item], Result], item: Item):
        super().__init__(daemon=True)
        self._call = lambda: function(item)
        self._outcome: Result
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._outcome = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Result:
        """What the call returned, or raise what it raised."""
        self.join()
        if self._error is not None:
            raise self._error
        return self._outcome
