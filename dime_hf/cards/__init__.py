"""The card of a trained model: what it predicts, whose votes it learnt from, and how well, beside a control."""

from __future__ import annotations

from dime_hf.cards.card import how_to_read, model_card
from dime_hf.cards.scores import ModelScores, model_scores, with_levels

__all__ = ["ModelScores", "how_to_read", "model_card", "model_scores", "with_levels"]
