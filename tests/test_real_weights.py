"""Real weights on real recordings, where `DIME_HF_AUDIO_LM` names a checkpoint: see `tests.bench.elicitation`."""

import numpy as np
import pytest
import scipy.stats

from tests.bench import elicitation

pytestmark = pytest.mark.real_weights


@pytest.mark.usefixtures("shared_data")
@pytest.mark.skipif(not elicitation.CHECKPOINT, reason="DIME_HF_AUDIO_LM names no checkpoint")
def test_answers_about_speakers_never_heard_are_better_than_chance():
    rows = {row["elicitation"]: row for row in elicitation.table()}
    for name, rival in (("order-averaged", 1 / 4), ("calibrated", 1 / 2)):
        right = round(rows[name]["accuracy"] * rows[name]["n"])
        assert scipy.stats.binomtest(right, rows[name]["n"], rival, alternative="greater").pvalue < 0.001, rows
    assert rows["calibrated"]["cross_entropy"] < rows["order-averaged"]["cross_entropy"] < np.log(4), rows
