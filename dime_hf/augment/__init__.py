"""DiME-Aug, distribution-aware multimodal emotion augmentation: plan which utterances to mix, then mix them."""

from dime_hf.augment.apply import augment
from dime_hf.augment.plan import DimeAug, Plan

__all__ = ["DimeAug", "Plan", "augment"]
