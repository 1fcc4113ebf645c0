"""The section of a dataset card that says where synthetic answers come from, written from the store."""

from __future__ import annotations

import contextlib
from pathlib import Path

from dime_hf.annotate.store import AnswerStore
from dime_hf.errors import StoreError

ANSWERS = """
SELECT proxy, count(*), count(DISTINCT utterance), avg(off_option) FROM answers
GROUP BY proxy ORDER BY proxy
"""
# Failures that were not made good since, by the last attempt.
FAILURES = """
SELECT proxy, kind, count(*) FROM (
    SELECT proxy, kind, max(asked_at) FROM failures
    WHERE NOT EXISTS (SELECT * FROM answers WHERE answers.key = failures.key)
    GROUP BY coalesce(key, utterance), proxy, "order"
) GROUP BY proxy, kind ORDER BY proxy, kind
"""
PROXIES = "SELECT proxy, field, group_concat(value, ', ') FROM proxies GROUP BY proxy, field ORDER BY proxy, field"
DATES = "SELECT min(asked_at), max(asked_at) FROM (SELECT asked_at FROM answers UNION SELECT asked_at FROM failures)"


def annotation_card(store: AnswerStore | str | Path) -> str:
    """Return Markdown about the answers of a store: by proxy their number, failures and mean off-option mass, dates.

    What an annotator said about its proxies (model, revision, prompt, strategy) is told, too. Dates are UTC. A failure
    counts until its question is answered.
    """
    if not isinstance(store, AnswerStore) and not Path(store).is_file():
        raise StoreError(f"`store`: there is no answer store {store}")
    with contextlib.nullcontext(store) if isinstance(store, AnswerStore) else AnswerStore(store) as ready:
        answers, failures, about = (ready.select(query) for query in (ANSWERS, FAILURES, PROXIES))
        first, last = ready.select(DATES)[0]
    if first is None:
        return "## Synthetic answers\n\nNone yet.\n"
    failed: dict[str, list[str]] = {}
    for proxy, kind, count in failures:
        failed.setdefault(proxy, []).append(f"{count:,} {kind}")
    counted = {proxy: rest for proxy, *rest in answers}
    rows = []
    for proxy in sorted({*counted, *failed}):
        count, utterances, off_option = counted.get(proxy, (0, 0, None))
        share = "" if off_option is None else f"{off_option:.4f}"
        name = proxy.replace("|", "\\|")  # else it would be two cells
        rows.append(f"| {name} | {count:,} | {utterances:,} | {', '.join(failed.get(proxy, ['0']))} | {share} |")
    return "\n".join(
        [
            "## Synthetic answers",
            "",
            f"Simulated annotators were asked between {first} and {last} (UTC). Their answers are no human votes.",
            "",
            "| proxy | answers | utterances | failed | off-option mass |",
            "|---|---|---|---|---|",
            *rows,
            *_described(about),
            "",
        ]
    )


def _described(about: list[tuple[str, str, str]]) -> list[str]:
    """A list of what the annotators said about their proxies."""
    fields: dict[str, list[str]] = {}
    for proxy, field, value in about:
        fields.setdefault(proxy, []).append(f"{field}: {value}")
    return ["", *(f"- **{proxy}**: {'; '.join(told)}" for proxy, told in fields.items())] if fields else []
