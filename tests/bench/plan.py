"""Plans of DiME-Aug on a corpus of MSP-Podcast's size.

Other cases than the row's: python -c "from tests.bench.plan import plan_cases; plan_cases()"
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
from datasets import ClassLabel, Features, List, Value

from dime_hf.augment import DimeAug, Plan
from dime_hf.distribution import Array
from tests.bench.timing import fastest

UTTERANCES, SPEAKERS, PART = 265_000, 2_000, 10
PRIOR = (0.24, 0.2, 0.16, 0.12, 0.1, 0.08, 0.06, 0.04)
PLANNER = DimeAug(ratio=0.5)
CASES: Mapping[str, Mapping[str, Any]] = {
    "a ratio of 0.5": {},
    "uniform": {"target": "uniform"},
    "at most 0.1 % a speaker": {"speaker_share": 0.001},
    "by level": {"per_level": True},
    "copies and concatenations": {"operations": ("perturb", "concatenate"), "neighbours": 1},
}


def plan_265k() -> dict[str, Any]:
    """Plan a ratio of 0.5 for 265,000 utterances of 5 to 7 votes, by copies to be perturbed.

    Baseline: the same plan on one utterance in 10, its seconds multiplied by 10: 1 is linear. Fastest of two each.
    """
    whole = corpus(UTTERANCES, voted=True)
    part = whole.select(range(0, UTTERANCES, PART)).flatten_indices()
    made = PLANNER.plan(whole).summary
    assert made.relaxed is not None
    np.testing.assert_allclose(made.relaxed, 1 / PLANNER.ratio, rtol=1e-5)
    ours = fastest(lambda: PLANNER.plan(whole), repetitions=2)
    baseline = PART * fastest(lambda: PLANNER.plan(part), repetitions=2)
    return {
        "name": "plan_265k", "ours": ours, "baseline": baseline, "ratio": baseline / ours, "unit": "s",
        "n": UTTERANCES,
    }  # fmt: skip


def plan_cases(utterances: int = UTTERANCES) -> None:
    """Print seconds and outcome of each case, for shares of votes and for posterior means (no two the same)."""
    for voted in (True, False):
        train = corpus(utterances, voted)
        for name, settings in CASES.items():
            seconds, plan = _timed(DimeAug(**{"ratio": 0.5, **settings}), train)
            what = f"{name}, {'votes' if voted else 'posterior means'}"
            print(f"{what:<45}{seconds:>7.1f} s\n{plan}\n", flush=True)


def _timed(planner: DimeAug, train: datasets.Dataset) -> tuple[float, Plan]:
    started = time.perf_counter()
    plan = planner.plan(train)
    return time.perf_counter() - started, plan


def corpus(utterances: int, voted: bool) -> datasets.Dataset:
    """Utterances of 2,000 speakers, without sound: soft labels are shares of 5 to 7 votes, or the truth itself."""
    rng = np.random.default_rng(0)
    truth: Array = rng.dirichlet(3 * np.array(PRIOR), utterances)
    votes = rng.multinomial(5, truth) + rng.multinomial(2, truth) * (rng.random(utterances) < 0.5)[:, None]
    labels = votes / votes.sum(1, keepdims=True) if voted else truth
    size, text = len(PRIOR), Value("string")
    rows = {
        "id": [f"u{row:07d}" for row in range(utterances)],
        "speaker": [f"s{speaker}" for speaker in rng.integers(0, SPEAKERS, utterances)],
        "duration": rng.uniform(1, 9, utterances),
        "hard_label": [None] * utterances,
        "soft_label": labels.tolist(),
    }
    features = Features(
        {"id": text, "speaker": text, "duration": Value("float32"),
         "hard_label": ClassLabel(names=[f"c{place}" for place in range(size)]),
         "soft_label": List(Value("float32"), length=size)}
    )  # fmt: skip
    return datasets.Dataset.from_dict(rows, features=features)
