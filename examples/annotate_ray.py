# /// script
# dependencies = ["dime_hf", "ray[data]"]
# ///
"""Ask an audio LM about every utterance of a corpus, on a Ray cluster or on the cores of this machine.

    python examples/annotate_ray.py --actors 2
    RAY_ADDRESS=auto python examples/annotate_ray.py --actors 64 --gpus 1 --corpus /shared/msp_podcast/train \
        --annotator Qwen/Qwen2-Audio-7B-Instruct --batch_size 32 --output /shared/annotated

The arguments of examples/annotate.py and two more. All machines must see --corpus and --output at the same path.
Every actor writes a store of its own; the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
SHARD = 1024  # utterances, about: what an actor is given at a time


def main() -> None:
    from dime_hf.cli.annotate import add_arguments, annotator_of, dataset_of, finish

    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(arguments)
    arguments.add_argument("--actors", type=int, default=1, help="annotators at work at a time")
    arguments.add_argument("--gpus", type=float, default=0, help="of every actor")
    given = arguments.parse_args()

    import ray

    from dime_hf.annotate import StoreFolder, plan

    # 1. The utterances and the annotator, made once, then found by all actors
    dataset = dataset_of(given)
    annotator = annotator_of(given, dataset, "auto")
    if given.dry_run:
        with StoreFolder(given.output / "stores", "plan") as store:
            print(plan(dataset, annotator, store, retry=given.retry))
        return

    # 2. Ask: shares of the dataset are handed out, the longest utterances spread over all of them
    shares = max(given.actors, math.ceil(len(dataset) / SHARD))
    if "RAY_ADDRESS" in os.environ:
        ray.init()
    else:
        ray.init(include_dashboard=False, num_cpus=max(given.actors + 1, os.cpu_count() or 1))  # one core reads
    try:
        asked = ray.data.range(shares, override_num_blocks=shares).map_batches(
            Asker,
            fn_constructor_args=(given, shares),
            compute=ray.data.ActorPoolStrategy(size=given.actors),
            batch_size=1,
            num_gpus=given.gpus,
        )
        done = sum(row["utterances"] for row in asked.iter_rows())
        print(f"went through {done:,} utterances in {shares} shares")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        ray.shutdown()

    # 3. Put the stores together
    finish(given.output, dataset, annotator)


class Asker:
    """An actor: holds the annotator, and asks about one share after the other."""

    def __init__(self, given: argparse.Namespace, shares: int):
        import datasets
        import ray

        from dime_hf.cli.annotate import annotator_of, dataset_of

        datasets.disable_progress_bars()
        self.given, self.shares = given, shares
        self.dataset = dataset_of(given)
        self.annotator = annotator_of(given, self.dataset, "auto")
        self.name = f"actor-{ray.get_runtime_context().get_actor_id()}"

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        from dime_hf.annotate import annotate_shard

        how = {"name": self.name, "batch_size": self.given.batch_size, "retry": self.given.retry}
        place = (self.dataset, self.annotator, self.given.output / "stores")
        return {"utterances": [annotate_shard(*place, int(share), self.shares, **how) for share in batch["id"]]}


if __name__ == "__main__":
    main()
