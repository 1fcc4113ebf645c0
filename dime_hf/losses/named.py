"""Losses by name, with settings, and mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from numpy.typing import ArrayLike
from torch import Tensor

from dime_hf.errors import did_you_mean
from dime_hf.losses.base import Loss
from dime_hf.losses.divergences import js, js_entropy, kl, soft_cross_entropy
from dime_hf.losses.imbalance import BalancedSoftmax, Focal, Weighted, require_rows
from dime_hf.losses.transport import EarthMover, Sinkhorn
from dime_hf.losses.votes import DirichletMultinomial, DirichletPrior, Evidential

AnyLoss = Callable[..., Tensor]  # a `Loss`, or your own function of (logits, targets)
LOSSES: dict[str, AnyLoss] = {
    "kl": kl,
    "soft_cross_entropy": soft_cross_entropy,
    "js": js,
    "js_entropy": js_entropy,
    "emd2": EarthMover(),
    "sinkhorn": Sinkhorn(),
    "dirichlet_multinomial": DirichletMultinomial(),
    "dirichlet_prior": DirichletPrior(),
    "evidential": Evidential(),
    "focal": Focal(),
    "balanced_softmax": BalancedSoftmax(),
}
CLASS_WEIGHTS = ("class_weights", "class_weight", "weight", "pos_weight")


@dataclasses.dataclass(frozen=True)
class Mixed(Loss):
    """(1 - weight) x `one` + weight x `other`; least between their optima, so at p where both are.

    Raises `ValueError` where one of them learns the vote distribution elsewhere than in softmax(logits): each would
    pull the other off its optimum.
    """

    one: Loss
    other: Loss
    weight: float = 0.5

    def __post_init__(self) -> None:
        for name, loss in (("one", self.one), ("other", self.other)):
            require_rows(name, loss)
            if loss.moves_logits:
                raise ValueError(
                    f"`{name}` is {type(loss).__name__}, under which softmax(logits) is not the vote distribution, as "
                    "it is under others: a mix would be least at neither's optimum. Train with it alone"
                )
        if not 0 <= self.weight <= 1:
            raise ValueError(f"`weight` is {self.weight}, but must be between 0 and 1: the share of `other`")

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.one.needs, *self.other.needs)))

    @property
    def takes_concentrations(self) -> bool:
        return self.one.takes_concentrations or self.other.takes_concentrations

    def fit_to(self, labels: ArrayLike, classes: Sequence[str] = ()) -> Self:
        return dataclasses.replace(
            self, one=self.one.fit_to(labels, classes), other=self.other.fit_to(labels, classes)
        )

    def rows(self, logits: Tensor, p: Tensor, needed: Mapping[str, Tensor]) -> Tensor:
        one, other = (loss.rows(logits, p, needed) for loss in (self.one, self.other))
        return (1 - self.weight) * one + self.weight * other


COMPOUNDS: dict[str, type[Mixed] | type[Weighted]] = {"mixed": Mixed, "weighted": Weighted}
PARTS = ("one", "other", "loss")  # their fields that are losses


def get_loss(loss: str | Mapping[str, Any] | AnyLoss, /, **settings: Any) -> Any:
    """Return a loss: by name and settings, as a mapping of both (`{"name": "focal", "gamma": 1}`), or as it is.

    A sum of two, `"0.7*kl + 0.3*emd2"`, whose weights sum to 1, is a `Mixed`; where the two have settings it is
    written `{"name": "mixed", "one": ..., "other": ..., "weight": 0.3}`, and `{"name": "weighted", "loss": ...}` takes
    weights of rows. Raises `ValueError` with the nearest name where there is none, and for settings that it lacks.

    >>> get_loss("focal", gamma=1.0)
    Focal(gamma=1.0)
    """
    if isinstance(loss, Mapping):
        settings = {**loss, **settings}
        loss = settings.pop("name", None)
    if callable(loss):
        return _set(loss, type(loss).__name__, settings)
    if isinstance(loss, str) and "+" in loss:
        return _mix(loss, settings)
    if loss in COMPOUNDS:
        return _compose(str(loss), settings)
    if loss not in LOSSES:
        raise ValueError(f"`loss` is {loss!r}, which is no loss.{did_you_mean(str(loss), [*LOSSES, *COMPOUNDS])}")
    return _set(LOSSES[loss], loss, settings)


def fit_to(loss: AnyLoss, labels: ArrayLike, classes: Sequence[str] = ()) -> Any:
    """Return `loss` for a training set: what it learns from counts or soft labels (N, C) and goes by `classes`.

    A loss that needs neither, and a function of your own, is returned as it is. Held-out rows have no place in it.
    """
    return loss.fit_to(labels, classes) if isinstance(loss, Loss) else loss


def _set(loss: AnyLoss, name: str, settings: dict[str, Any]) -> AnyLoss:
    fields = [field.name for field in dataclasses.fields(loss)] if isinstance(loss, Loss) else []
    for setting in settings:
        if setting in fields:
            continue
        if setting in CLASS_WEIGHTS:
            raise ValueError(
                f"`{setting}` inside a loss on distributions moves its optimum from p to p_c w_c / sum_k p_k w_k: "
                "[.5, .4, .1] under weights (1, 5, 10) learns [.14, .57, .29]. For rare classes take the loss "
                "'balanced_softmax', or weights of rows: `Weighted(loss)` with `class_balanced_weights`"
            )
        raise ValueError(f"the loss {name!r} has no setting {setting!r}.{did_you_mean(setting, fields)}")
    return dataclasses.replace(loss, **settings) if isinstance(loss, Loss) and settings else loss


def _compose(name: str, settings: dict[str, Any]) -> Loss:
    kind = COMPOUNDS[name]
    fields = [field.name for field in dataclasses.fields(kind)]
    missing = [part for part in PARTS if part in fields and part not in settings]
    if missing or not set(settings) <= set(fields):
        raise ValueError(f"the loss {name!r} takes {fields}, of which it needs {missing}; got {sorted(settings)}")
    return kind(**{key: get_loss(part) if key in PARTS else part for key, part in settings.items()})


def _mix(text: str, settings: dict[str, Any]) -> Mixed:
    """Read "0.7*kl + 0.3*emd2"."""
    terms = [term.partition("*") for term in text.split("+")]
    try:
        weights = [float(weight) for weight, _, _ in terms]
    except ValueError:
        weights = []
    if len(weights) != 2 or settings or abs(sum(weights) - 1) > 1e-9:
        raise ValueError(
            f"`loss` is {text!r}, but a mix is written like '0.7*kl + 0.3*emd2', two losses whose weights sum to 1; "
            "`Mixed(one, other, weight)`, or a mapping with the name 'mixed', mixes losses that have settings"
        )
    one, other = (get_loss(name.strip()) for _, _, name in terms)
    return Mixed(one, other, weights[1])
