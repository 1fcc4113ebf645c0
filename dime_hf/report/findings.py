"""Sections of scores: the verdict on pooling, labels beside the paper's protocol, the model by ambiguity."""

from __future__ import annotations

from typing import Any

from dime_hf.protocol import LevelScores, ProtocolComparison, ScoredLabels, ScoreTable
from dime_hf.report.blocks import Block, Cell, Figure, Section, Table, Text, chance, estimate, number
from dime_hf.report.figures import dots, draw

LOWER = (
    "squared_score", "squared_distance", "js_divergence", "js_distance", "kl_human_to_model", "total_variation",
    "distce", "manhattan_distance", "chebyshev_distance", "clark_distance", "canberra_distance", "entce_absolute",
    "ece",
)  # fmt: skip
NAMES = {
    "squared_score": "squared score",
    "js_divergence": "JS, bits",
    "bhattacharyya": "Bhattacharyya",
    "log_likelihood": "log-likelihood, nats",
}
TRUTH = "(truth)"
HOW_TO_READ = (
    "In brackets: intervals, clustered by group, which is the speaker where known. Decide by the squared score, which "
    "is proper. (truth): the expected score of the true distributions against as many votes; it is no bound."
)


def metric_name(name: str) -> str:
    """A metric as tables call it, with an arrow to where it is better."""
    shown = NAMES.get(name, name.replace("_", " "))
    return shown if name == "entce" else f"{shown} {'↓' if name in LOWER else '↑'}"


def pooling_section(table: ScoreTable) -> Section:
    """What pooling brings."""
    blocks = [_verdict(table), *score_blocks(table, "pooling", "Labels")]
    return Section("pooling", "Pooled labels", tuple(blocks))


def scores_section(scores: ScoreTable | LevelScores) -> Section:
    """The final table, by level of ambiguity where it is known."""
    overall = scores.overall if isinstance(scores, LevelScores) else scores
    blocks = [_verdict(overall), *score_blocks(overall, "scores", "Scores")]
    if isinstance(scores, LevelScores):
        blocks += _by_level(scores)
    return Section("scores", "Scores", tuple(blocks))


def _verdict(table: ScoreTable) -> Text:
    if table.moving:
        return Text(
            "The reference moves: it contains what it judges. These are no scores of quality.",
            warning=True,
        )
    return Text(says(table) or "No verdict was declared before the scores were seen.")


def says(table: ScoreTable) -> str:
    """The verdict of a table as a sentence; empty where there is none."""
    found = table.verdict
    if found is None:
        return ""
    judged = [row.name for row in table.rows if row.against_control is not None and row.p_holm is None]
    gap, scores = found.paired.difference, (number(found.score, 4), number(found.control_score, 4))
    return (
        f"Verdict on '{judged[0]}' against '{table.control}': {found.says}. Squared score {scores[0]}, control "
        f"{scores[1]}, difference {estimate(gap, 4, sign=True)} ({100 * gap.level:.4g} % interval), one-sided p "
        f"{chance(found.paired.p_lower)}; {gap.n:,} utterances in {gap.n_groups:,} groups."
    )


def score_blocks(table: ScoreTable, name: str, caption: str) -> list[Block]:
    """A table of scores and its figure."""
    names = list(table.rows[0].scores)
    level = next(iter(table.rows[0].scores.values())).level
    head = ["labels", *map(metric_name, names)]
    if table.control:
        head += [f"squared score less '{table.control}'", "p (Holm)"]
    rows = [_row(row, table, with_p=True) for row in table.rows]
    caption = f"{caption} against {table.reference}: {table.n:,} utterances in {table.n_groups:,} groups"
    blocks: list[Block] = [Table(caption, tuple(head), (*rows, *_truth(table, names, len(head))), _note(table, level))]
    if "squared_score" in names:
        blocks.append(_figure(name, caption, {"": table}))
    return blocks


def _note(table: ScoreTable, level: float) -> str:
    parts = [f"{HOW_TO_READ} Intervals at {100 * level:.4g} %."]
    if table.control:
        parts.append(f"Control: {table.control}. Differences below 0 are better; p two-sided, corrected (Holm).")
    if not table.truth:
        parts.append("The score of the truth cannot be told here: the votes that judge are fractional or too few.")
    if table.left_out:
        parts.append(f"{table.left_out:,} rows without reference or label are left out.")
    if table.n_effective is not None:
        parts.append(f"Rows are weighted: an effective sample of {table.n_effective:,.1f}.")
    return " ".join(parts)


def _row(row: ScoredLabels, table: ScoreTable, with_p: bool) -> tuple[Cell, ...]:
    cells: list[Cell] = [row.name, *(estimate(one) for one in row.scores.values())]
    if not table.control:
        return tuple(cells)
    if row.name == table.control:
        return (*cells, "control", *[""] * with_p)
    gap = row.against_control.difference if row.against_control else None
    p: Cell = "verdict" if row.p_holm is None and table.verdict else chance(row.p_holm)
    return (*cells, estimate(gap, sign=True), *[p] * with_p)


def _truth(table: ScoreTable, names: list[str], width: int) -> list[tuple[Cell, ...]]:
    if not table.truth:
        return []
    cells: list[Cell] = [TRUTH, *(number(table.truth[name], 4) for name in names)]
    return [tuple(cells + [""] * (width - len(cells)))]


def _figure(name: str, caption: str, tables: dict[str, ScoreTable]) -> Figure:
    """Squared scores, a panel each table; the control and the truth are lines."""

    def plot(canvas: Any) -> None:
        panels = canvas.subplots(1, len(tables), squeeze=False, sharex=True, sharey=True)[0]
        for axes, (title, table) in zip(panels, tables.items(), strict=True):
            control = {
                row.name: row.scores["squared_score"].estimate for row in table.rows if row.name == table.control
            }
            lines = {f"control ({one})": value for one, value in control.items()}
            if table.truth:
                lines["truth"] = table.truth["squared_score"]
            dots(axes, {row.name: row.scores["squared_score"] for row in table.rows}, lines)
            axes.set(title=title, xlabel="squared score (lower is better)")
            axes.locator_params(axis="x", nbins=5)
        handles, labels = panels[0].get_legend_handles_labels()
        if handles:
            canvas.legend(handles, labels, loc="outside lower center", ncols=2, fontsize="small")

    said = "; ".join(
        f"{title or 'all'}: " + ", ".join(f"{row.name} {row.scores['squared_score']}" for row in table.rows)
        for title, table in tables.items()
    )
    most = max(len(table.rows) for table in tables.values())
    size = (max(6.6, 2.9 * len(tables)), 1.5 + 0.32 * most)
    return draw(f"{name}-squared", f"Squared score. {caption}", f"Points with intervals. {said}.", plot, size=size)


def _by_level(scores: LevelScores) -> list[Block]:
    left = [f"{name}: not scored, {why}." for name, why in scores.not_done.items()]
    if not scores.by_level:
        return [Text(" ".join(left), title="By ambiguity")]
    first = next(iter(scores.by_level.values()))
    names = list(first.rows[0].scores)
    head = ["labels", *map(metric_name, names)]
    if first.control:
        head.append(f"squared score less '{first.control}'")
    rows: list[tuple[Cell, ...]] = []
    for level, table in scores.by_level.items():
        rows.append((f"{level} ambiguity: {table.n:,} utterances in {table.n_groups:,} groups",))
        rows += [_row(row, table, with_p=False) for row in table.rows]
        rows += _truth(table, names, len(head))
    truth = "The truth is that behind the held-out votes of each level."
    if not all(table.truth for table in scores.by_level.values()):
        truth = "Of few or fractional votes, by level the truth cannot be told."
    note = (
        "Levels are terciles of the entropy of the votes that labels see; the held-out votes judge. "
        f"{truth} No tests by level: the verdict is on all rows."
    )
    caption = f"Scores by ambiguity, against {first.reference}"
    blocks: list[Block] = [
        Text(" ".join(left), title="By ambiguity"),
        Table(caption, tuple(head), tuple(rows), note),
    ]
    if "squared_score" in names:
        panels = {f"{level} (n = {table.n:,})": table for level, table in scores.by_level.items()}
        blocks.append(_figure("levels", "By ambiguity", panels))
    return blocks


def protocols_section(found: ProtocolComparison) -> Section:
    """The paper's protocol beside a fixed reference."""
    names = list(found.fixed.rows[0].scores)
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        rows.append((metric_name(name),))
        for fixed, moving in zip(found.fixed.rows, found.moving, strict=True):
            rows.append((fixed.name, estimate(fixed.scores[name]), estimate(moving.rows[0].scores[name])))
        if found.fixed.truth:
            rows.append((TRUTH, number(found.fixed.truth[name], 4), ""))
    caption = f"{found.fixed.n:,} utterances in {found.fixed.n_groups:,} groups, under both protocols"
    note = f"Own labels: each kind against labels of its own making, as 2601.14620 scores. {HOW_TO_READ}"
    warning = Text(
        "Scores against own labels say how alike two mixtures are, not how good either is: that reference moves.",
        warning=True,
    )
    table = Table(caption, ("labels", f"against {found.fixed.reference}", "against own labels"), tuple(rows), note)
    return Section("protocols", "The paper's protocol beside ours", (warning, table))
