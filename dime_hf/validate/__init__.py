"""Validation: are the proxies any good, how much are they worth in human votes, and how sure is that?

`validate(dataset)` says all of it; its parts can be had alone:

| module | question |
|---|---|
| `alignment` | how close are proxies to human votes, beside the prior, shuffled answers, one more human? |
| `worth` | how many human votes tell as much as a proxy: overall, by class, by ambiguity |
| `agreement` | do humans agree with each other, with proxies, and proxies with each other? (Fleiss, Krippendorff) |
| `alt_test` | may a proxy stand in for an annotator? (Calderon et al. 2025) |
| `saturation` | what do more synthetic votes bring, and what bias does no number of them remove? |
| `reliability` | are option probabilities what they say? |
| `levels`, `strata` | and by ambiguity, where utterances may lie in another stratum than a few votes say? |
| `drift` | how far do answers move between prompts and between option orders? |
| `rates` | class rates of a corpus from few human votes and many answers (PPI++) |
| `power` | how many votes, utterances, speakers to detect a gain? |
"""

from dime_hf.validate.run import Validation, validate

__all__ = ["Validation", "validate"]
