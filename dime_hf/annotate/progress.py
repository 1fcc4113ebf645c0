"""What a run of `annotate` did so far, and the bar that shows it."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars, tqdm

from dime_hf.annotate.annotator import Answer
from dime_hf.columns import FAILED


@dataclasses.dataclass
class Tally:
    """Answers that a run asked for, found in the store, failed to get, or lacks; `content` hashes those it has."""

    asked: int = 0
    stored: int = 0
    failed: int = 0
    missing: int = 0
    utterances_missing: int = 0
    answered: int = 0  # of those asked, with success
    off_option: float = 0.0  # of those answered, together
    first: str | None = None
    content: str | None = None
    bar: Any = None

    def count(self, answers: Sequence[Answer], utterance: str, *, asked: bool) -> None:
        """Count the answers to one question, just asked or from the store."""
        failures = [answer for answer in answers if answer["status"] == FAILED]
        self.failed += len(failures)
        if failures:
            self.first = self.first or f"{utterance}: {failures[0]['error']}"
        if asked:
            self.asked += len(answers)
            self.answered += len(answers) - len(failures)
            self.off_option += sum(answer["off_option"] or 0.0 for answer in answers)
        else:
            self.stored += len(answers)

    def advance(self, utterances: int) -> None:
        """Move the bar on."""
        if self.bar is None:
            return
        off_option = f"{self.off_option / self.answered:.3f}" if self.answered else "-"
        self.bar.set_postfix(failed=self.failed, off_option=off_option, refresh=False)
        self.bar.update(utterances)

    def log(self, logger: logging.Logger, utterances: int) -> None:
        """Say in one line what was done, as a warning where answers failed or are missing."""
        first = f" (first: {self.first})" if self.first else ""
        missing = f", {self.missing} missing (of {self.utterances_missing} utterances)" if self.missing else ""
        logger.log(
            logging.WARNING if self.failed or self.missing else logging.INFO,
            "annotated %d utterances: %d answers asked, %d from the store, %d failed%s%s",
            *(utterances, self.asked, self.stored, self.failed, first, missing),
        )


@contextlib.contextmanager
def bar(utterances: int, description: str) -> Iterator[Any]:
    """Bar of `datasets` over utterances, in place of the one that `Dataset.map` would show over rows written."""
    with tqdm(total=utterances, desc=description, unit=" utterances") as shown:
        if are_progress_bars_disabled():
            yield shown
            return
        with warnings.catch_warnings():  # that the environment insists on bars: then there are two
            warnings.simplefilter("ignore")
            disable_progress_bars()
        try:
            yield shown
        finally:
            enable_progress_bars()
