"""Real weights on real recordings, where `DIME_HF_AUDIO_LM` names a checkpoint: see `tests.bench.elicitation`."""

import pytest
import scipy.stats

from tests.bench import elicitation

pytestmark = pytest.mark.real_weights


@pytest.mark.usefixtures("shared_data")
@pytest.mark.skipif(not elicitation.CHECKPOINT, reason="DIME_HF_AUDIO_LM names no checkpoint")
def test_answers_about_speakers_never_heard_are_better_than_chance():
    rows = {row["elicitation"]: row for row in elicitation.table()}
    for name in ("order-averaged", "calibrated"):
        row = rows[name]
        right = round(row["accuracy"] * row["n"])
        assert scipy.stats.binomtest(right, row["n"], 1 / 2, alternative="greater").pvalue < 0.01, rows
    assert rows["calibrated"]["cross_entropy"] < 1.1, rows
