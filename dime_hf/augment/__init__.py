"""DiME-Aug, distribution-aware multimodal emotion augmentation: plan which utterances to mix, then mix them."""

from dime_hf.augment.apply import augment
from dime_hf.augment.embeddings import embed
from dime_hf.augment.evaluation import augment_test
from dime_hf.augment.gate import GateReport, drift_gate
from dime_hf.augment.neighbours import find_neighbours, nearest_utterances
from dime_hf.augment.on_the_fly import OnTheFly
from dime_hf.augment.plan import Plan
from dime_hf.augment.recipe import DimeAug
from dime_hf.augment.summary import Summary

__all__ = [
    "DimeAug",
    "GateReport",
    "OnTheFly",
    "Plan",
    "Summary",
    "augment",
    "augment_test",
    "drift_gate",
    "embed",
    "find_neighbours",
    "nearest_utterances",
]
