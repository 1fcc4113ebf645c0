"""`make bench`: times ours against a named baseline in the same run, prints a table and writes bench-results.json."""

from __future__ import annotations

import json
from pathlib import Path

import datasets

from tests.bench import elicitation
from tests.bench.annotate_run import annotate_flat
from tests.bench.augment import dime_aug_vs_librosa_baseline
from tests.bench.corpora import iemocap_labels
from tests.bench.crema import crema_pooling
from tests.bench.evidence import bootstrap_10k, metrics_vs_row_loop
from tests.bench.floor import share_of_floor
from tests.bench.lazy import lazy_pipeline_rate
from tests.bench.msp import msp2_labels, second_load
from tests.bench.options import options_vs_num_return_sequences10, options_vs_sampled10, prompts5_orders4
from tests.bench.plan import plan_265k
from tests.bench.pool import pool_fit_265k
from tests.bench.report import report_10k
from tests.bench.scores import score_vs_row_loop
from tests.bench.training import dynamic_padding_vs_30s, trainer_vs_plain
from tests.bench.tuning import lora_options_memory

BENCHMARKS = (
    iemocap_labels, msp2_labels, second_load, options_vs_sampled10, options_vs_num_return_sequences10,
    prompts5_orders4, share_of_floor, annotate_flat, score_vs_row_loop, metrics_vs_row_loop,
    bootstrap_10k, pool_fit_265k, dime_aug_vs_librosa_baseline, lazy_pipeline_rate, plan_265k,
    trainer_vs_plain, dynamic_padding_vs_30s, lora_options_memory, report_10k,
)  # fmt: skip
RESULTS = Path("bench-results.json")


def main() -> None:
    datasets.disable_progress_bars()
    print(f"{'benchmark':<36}{'ours':>12}{'baseline':>12}{'ratio':>9}  unit (n)")
    rows = []
    for benchmark in BENCHMARKS:
        row = benchmark()
        rows.append(row)
        print(
            "{name:<36}{ours:>12.5f}{baseline:>12.5f}{ratio:>9.2f}  {unit} ({n:,})".format(**row),
            flush=True,
        )
    crema_pooling()
    if elicitation.CHECKPOINT:
        elicitation.report()
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
    print(f"ratio: how many times better ours is than the baseline of the same run; written to {RESULTS}")


if __name__ == "__main__":
    main()
