"""Votes to and from the formats of other tools, and answer stores to and from Parquet.

| format | carries | has no place for |
|---|---|---|
| crowd-kit | external votes: utterance, annotator, label | secondary answers, notes, self votes |
| cleanlab | one class of each annotator on an utterance; predictions | the same, and several choices |
| audformat | every tick, the labels and their policy, groups, ratings | answers, intervals |
| Label Studio | every tick, words, groups | ratings, labels beside the votes |
| Parquet | all that an answer store holds | |

What a format has no place for is counted in a warning, and refused where votes would count otherwise than before,
unless an argument says what is to become of them. Imports keep every utterance and take each label as a class of its
own, unless the format knows better: `dime_hf.derive` counts them in other label sets and under other policies.
`from_audformat` also reads databases of others, where each human rater has a column of emotions.
All of it is files and tables on this machine: recordings are referred to by their paths, never copied.
"""

from dime_hf.interchange.answers import store_from_parquet, store_to_parquet
from dime_hf.interchange.audformat import from_audformat, to_audformat
from dime_hf.interchange.cleanlab import CleanlabVotes, from_cleanlab, to_cleanlab
from dime_hf.interchange.crowd_kit import from_crowd_kit, to_crowd_kit
from dime_hf.interchange.label_studio import from_label_studio, labeling_config, to_label_studio

__all__ = [
    "CleanlabVotes",
    "from_audformat",
    "from_cleanlab",
    "from_crowd_kit",
    "from_label_studio",
    "labeling_config",
    "store_from_parquet",
    "store_to_parquet",
    "to_audformat",
    "to_cleanlab",
    "to_crowd_kit",
    "to_label_studio",
]
