"""DiME-Aug, distribution-aware multimodal emotion augmentation: plan which utterances to mix, then mix them."""

from dime_hf.augment.embeddings import embed
from dime_hf.augment.mix import augment
from dime_hf.augment.neighbours import find_neighbours, nearest_utterances
from dime_hf.augment.plan import Plan
from dime_hf.augment.recipe import DimeAug
from dime_hf.augment.summary import Summary

__all__ = ["DimeAug", "Plan", "Summary", "augment", "embed", "find_neighbours", "nearest_utterances"]
