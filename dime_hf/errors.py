"""Everything `dime_hf` raises on purpose.

DimeError
 +-- CorpusError             the folder is not the corpus it should be
 |    +-- LabelFileError     a line of a label file lies outside the corpus's grammar
 +-- AudioError              a recording cannot be read
 +-- ColumnError             a dataset lacks a column, or a `DatasetDict` came where one split is needed
 +-- DistributionError       an array is not a distribution, or not votes
 +-- AnnotationError         a model cannot be asked what it was asked for
 |    +-- StoreError         an answer store cannot be used
 +-- PlanError               a plan of DiME-Aug cannot be made, or read, as it is written
 +-- FitError                the data cannot identify what is to be fitted
 +-- LeakageError            votes that must stay held out would be seen
 +-- OptionError             options of a command are wrong, or do not fit together
 +-- HubError                the Hub refuses, or a repository there is not as it should be
 +-- LicenceError            a licence forbids what would be shared
 +-- PackageError            an optional package is needed and not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DimeError(Exception):
    """Base of every error of this package."""


class CorpusError(DimeError):
    """The folder is not the corpus it should be."""


class LabelFileError(CorpusError):
    """A line of a label file lies outside the corpus's grammar."""

    def __init__(self, path: object, line_number: int, line: str, expected: str):
        super().__init__(f"{path}, line {line_number}: expected {expected}, found {line!r}")


class AudioError(DimeError):
    """A recording cannot be read."""


class ColumnError(DimeError):
    """A dataset lacks a column, or a `DatasetDict` came where one split is needed."""


class DistributionError(DimeError, ValueError):
    """An array is not a distribution, or not votes."""


class PackageError(DimeError, ImportError):
    """An optional package is needed and not installed."""

    def __init__(self, what: str, package: str, extra: str):
        super().__init__(f"{what} needs the package {package}: pip install 'dime_hf[{extra}]'")


class AnnotationError(DimeError):
    """A model cannot be asked what it was asked for."""


class StoreError(AnnotationError):
    """An answer store cannot be used."""


class PlanError(DimeError, ValueError):
    """A plan of DiME-Aug cannot be made, or read, as it is written."""


class FitError(DimeError):
    """The data cannot identify what is to be fitted."""


class LeakageError(DimeError):
    """Votes that must stay held out would be seen."""


class OptionError(DimeError, ValueError):
    """Options of a command are wrong, or do not fit together."""


class HubError(DimeError):
    """The Hub refuses, or a repository there is not as it should be."""


class LicenceError(DimeError):
    """A licence forbids what would be shared."""


def did_you_mean(found: str, possible: Iterable[str]) -> str:
    """End of an error message that names the nearest of the `possible` names.

    >>> did_you_mean("iemcap", ["crema_d", "iemocap"])
    " Did you mean 'iemocap'? Available: 'crema_d', 'iemocap'."
    """
    possible = list(possible)
    nearest = difflib.get_close_matches(found, possible, n=1, cutoff=0.5)
    question = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"{question} Available: {', '.join(map(repr, possible))}."
