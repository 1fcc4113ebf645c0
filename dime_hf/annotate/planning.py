"""`plan`: what `annotate` would ask, and of how much sound, without asking anything."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from datasets import Dataset

from dime_hf.annotate.annotator import Annotator
from dime_hf.annotate.chunk import Chunk
from dime_hf.annotate.desk import Desk, Store
from dime_hf.annotate.progress import bar
from dime_hf.annotate.run import CHUNK, check_askable, opened, reads
from dime_hf.columns import FAILED, ID
from dime_hf.stage import undecoded

COUNTED = ("held", "failures_held", "to_ask", "to_hear", "unreadable")


@dataclasses.dataclass(frozen=True)
class Plan:
    """Counts of what a run would do; `prompts` has one full prompt a proxy, `cost` what the annotator expects.

    `held`, `failures_held` and `to_ask` count answers; `to_hear` counts the utterances about which something is asked,
    `hours` their sound.
    """

    utterances: int
    questions: int
    held: int
    failures_held: int
    to_ask: int
    to_hear: int
    hours: float
    unreadable: int
    refused: int
    prompts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    cost: str | None = None

    def __str__(self) -> str:
        """Return a table, then the prompts."""
        rows = {
            "utterances": f"{self.utterances:,}",
            "  without a recording that can be read": f"{self.unreadable:,}",
            "  refused (the annotator was tuned on them)": f"{self.refused:,}",
            "questions about each": f"{self.questions:,}",
            "answers in the store": f"{self.held:,}",
            "failures in the store, not asked again": f"{self.failures_held:,}",
            "answers to ask": f"{self.to_ask:,}",
            "  about utterances": f"{self.to_hear:,}",
            "  hours of sound": f"{self.hours:,.2f}",
            **({"cost": self.cost} if self.cost else {}),
        }
        table = [f"{name:<44}{value:>12}" for name, value in rows.items()]
        return "\n".join(table + [f"\n--- {proxy} ---\n{prompt}" for proxy, prompt in self.prompts.items()])


def plan(
    dataset: Dataset,
    annotator: Annotator,
    store: Store | str | Path | None = None,
    *,
    retry: Collection[str] | None = None,
) -> Plan:
    """Return what `annotate` with the same arguments would ask: recordings are read and looked up, nothing is asked.

    An annotator may offer `preview(batch)`, a full prompt by proxy for the utterances of a batch (here the first one),
    and `cost(answers, utterances, seconds)`, a line about what these will take.
    """
    check_askable(dataset, annotator)
    if isinstance(store, str | Path) and not Path(store).exists():
        store = None  # and none is made
    chosen = undecoded(dataset.with_format(None)).select_columns(reads(dataset))
    total: Counter[str] = Counter()
    with opened(store) as ready, bar(len(dataset), "Planning") as shown:
        desk = Desk(annotator, ready, retry=retry)
        for batch in chosen.iter(CHUNK):
            total.update(_count(desk.look_up(batch)))
            shown.update(len(batch[ID]))
    milliseconds = total.pop("milliseconds", 0)
    preview, cost = getattr(annotator, "preview", None), getattr(annotator, "cost", None)
    return Plan(
        utterances=len(dataset),
        questions=len(desk.questions),
        refused=len(desk.tuned_on.intersection(dataset[ID])),
        hours=milliseconds / 3_600_000,
        prompts=preview(chosen[:1]) if preview and len(dataset) else {},
        cost=cost(total["to_ask"], total["to_hear"], milliseconds / 1000) if cost else None,
        **{name: total[name] for name in COUNTED},
    )


def _count(chunk: Chunk) -> dict[str, int]:
    """What one chunk adds to a plan."""
    wanted = chunk.wanted()
    units = [unit for units in chunk.units for unit in units if unit]
    failures = sum(answer["status"] == FAILED for unit in units for answer in unit)
    return {
        "held": sum(map(len, units)) - failures,
        "failures_held": failures,
        "to_ask": sum(map(len, wanted.values())),
        "to_hear": len(wanted),
        "unreadable": chunk.heard.count(False),
        "milliseconds": round(1000 * sum(chunk.lengths(wanted).values())),
    }
