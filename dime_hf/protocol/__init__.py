"""Labels and predictions scored on the same rows against one fixed reference: votes of humans that none of them saw.

A reference *moves* where it is made of what it judges: labels that contain synthetic votes, or the very votes that the
scored labels were made of. Scores against it say how alike two mixtures are, not how good one is, and the more
synthetic votes both contain, the better they look (2601.14620 scores so). It is refused unless asked for by name, and
then every output says so.
"""

from dime_hf.protocol.balance import Selection, balanced_selection, balanced_weights
from dime_hf.protocol.comparison import ProtocolComparison, compare_protocols, own_labels
from dime_hf.protocol.levels import LevelScores, scores_by_level
from dime_hf.protocol.scoring import ScoredLabels, ScoreTable, score_labels

__all__ = [
    "LevelScores",
    "ProtocolComparison",
    "ScoreTable",
    "ScoredLabels",
    "Selection",
    "balanced_selection",
    "balanced_weights",
    "compare_protocols",
    "own_labels",
    "score_labels",
    "scores_by_level",
]
