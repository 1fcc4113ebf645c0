"""The section of validation: a table and, where there is one, the figure of each part."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dime_hf.evidence import Interval, plain
from dime_hf.report.blocks import (
    Block,
    Cell,
    Figure,
    Printed,
    Section,
    Table,
    Text,
    Value,
    chance,
    count,
    estimate,
    number,
    percent,
)
from dime_hf.report.figures import draw
from dime_hf.report.findings import HOW_TO_READ, TRUTH, metric_name
from dime_hf.validate import Validation
from dime_hf.validate.agreement import Agreements
from dime_hf.validate.alignment import CONTROL, POOLED, PRIOR, PROXY, Alignment
from dime_hf.validate.alt_test import AltTests
from dime_hf.validate.drift import Drift, Moves
from dime_hf.validate.levels import Levels
from dime_hf.validate.rates import ClassRates
from dime_hf.validate.reliability import Reliability
from dime_hf.validate.saturation import Saturation
from dime_hf.validate.worth import Worth, WorthInVotes

TITLES = {
    "alignment": "How close to human votes",
    "worth": "Worth in human votes",
    "agreement": "Agreement",
    "alt_test": "May a proxy stand in for an annotator?",
    "saturation": "What more synthetic votes bring",
    "reliability": "Are option probabilities what they say?",
    "levels": "The proxies by ambiguity",
    "drift": "Drift between prompts and option orders",
    "class_rates": "How often each class occurs",
}
HEADINGS = {PROXY: "proxies", POOLED: "of all proxies together", CONTROL: "controls"}
CAPTIONS = {
    "alignment": "Squared score less that of the prior, with intervals: left of the line is better than the prior",
    "worth": "Log-likelihood of the next vote by human votes seen; each system ends where it meets that curve",
    "saturation": "JS divergence to the human votes by number of synthetic votes, beside the score of the truth",
    "reliability": "Share of human votes by probability, with intervals: on the dashed line they agree",
    "drift": "Probability by place among the options, with intervals: on the dotted line there is no bias",
}


def validation_section(found: Validation) -> Section:
    """All parts that could be had, and why others could not."""
    blocks: list[Block] = [
        Text(
            f"{len(found.proxies):,} proxies on {found.utterances:,} utterances, {found.voted:,} with human votes; "
            f"{found.answers:,} answers, {found.failed:,} of them failed. {_about_intervals(found)}"
        )
    ]
    for name, part in found.parts.items():
        blocks += part_blocks(name, part)
    if found.not_done:
        rows = tuple((TITLES.get(name, name), why) for name, why in found.not_done.items())
        blocks += [Text(title="Not done"), Table("Parts that these votes do not allow", ("part", "why"), rows)]
    return Section("validation", "Validation of the proxies", tuple(blocks))


def _about_intervals(found: Validation) -> str:
    levels = sorted(set(_levels_of(plain(found.parts))))
    return f"Intervals at {' or '.join(f'{100 * level:.4g} %' for level in levels)}." if levels else ""


def _levels_of(values: Any) -> Iterator[float]:
    """Levels of all intervals, however deep."""
    if isinstance(values, dict):
        if "degrees_of_freedom" in values:
            yield values["level"]
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _levels_of(value)


def part_blocks(name: str, part: Any) -> list[Block]:
    """Title, figure and table of a part; its own print where no table is known."""
    title = TITLES.get(name, name)
    blocks: list[Block] = [Text(title=title)]
    if hasattr(part, "plot") and not (isinstance(part, Drift) and _no_places(part)):
        blocks.append(_figure(name, part))
    lay_out = TABLES.get(type(part))
    return [*blocks, lay_out(part) if lay_out else Printed(str(part), title)]


def _no_places(part: Drift) -> bool:
    return not any(found.places for found in part.between_orders.values())


def _figure(name: str, part: Any) -> Figure:
    caption = CAPTIONS.get(name, TITLES.get(name, name))
    says = f"{caption}. The numbers are in the table that follows."
    size = (4.8, 4.6) if isinstance(part, Reliability) else (6.6, 3.8)
    return draw(f"validation-{name}", caption, says, lambda canvas: part.plot(canvas.subplots()), size=size)


def _alignment(part: Alignment) -> Table:
    names = list(part.truth)
    rows: list[tuple[Cell, ...]] = []
    for kind, heading in HEADINGS.items():
        mine = [one for one in part.systems if one.kind == kind]
        rows += [(heading,)] if mine else []
        for one in mine:
            gap: Cell = "control" if one.system == PRIOR else estimate(one.difference.difference, 3, sign=True)
            scores = (estimate(one.scores[name], 3) for name in names)
            rows.append((one.system, *scores, gap, chance(one.p_holm)))
    rows.append((TRUTH, *(number(part.truth[name], 3) for name in names), "", ""))
    caption = f"Against {part.votes:.3g} human votes, on {part.utterances:,} utterances"
    note = (
        f"Left out: {part.too_few_votes:,} with fewer than two votes, {part.unanswered:,} that not every proxy "
        f"answered. {HOW_TO_READ}"
    )
    head = ("system", *map(metric_name, names), "squared score less prior's", "p (Holm)")
    return Table(caption, head, tuple(rows), note)


def _worth(part: WorthInVotes) -> Table:
    rows: list[tuple[Cell, ...]] = []
    levels = {f"{name} ambiguity": systems for name, systems in part.by_level.items()}
    for name, systems in {"all": part.overall, **part.by_class, **levels}.items():
        rows.append((name,))
        rows += [(system, _votes(one), estimate(one.gain, sign=True), _remark(one)) for system, one in systems.items()]
    curve = ", ".join(f"{number(value, 4)} (k = {k})" for k, value in enumerate(part.curve))
    note = (
        f"Votes: how many human votes, beside the prior, tell as much of the next vote. Control: the prior, worth 0. "
        f"Log-likelihood of a vote given k others: {curve}. {part.left_out:,} utterances have too few votes. "
    )
    note += (
        f"Levels of ambiguity by {part.level_votes} other votes."
        if part.level_votes
        else "No vote is left to tell levels."
    )
    head = ("system", "votes", "gain over the prior, nats", "")
    return Table(f"Worth in human votes, on {part.utterances:,} utterances", head, tuple(rows), note)


def _votes(one: Worth) -> Value:
    found = estimate(one.votes, 2)
    return Value(f"≥ {found.text}", found.interval) if one.at_least else found


def _remark(one: Worth) -> str:
    if np.isnan(one.votes.estimate):
        return "human votes tell no more than the prior"
    return "worse than the prior" if one.worse_than_prior else ""


def _agreement(part: Agreements) -> Table:
    sides = {
        "human and human": part.human,
        "human and synthetic": part.across,
        "synthetic and synthetic": part.synthetic,
        **{f"human and {name}": one for name, one in part.by_proxy.items()},
    }
    rows: list[tuple[Cell, ...]] = []
    for name, one in sides.items():
        coefficients = (one.percent, one.fleiss_kappa, one.krippendorff_alpha, one.cohen_kappa)
        digits = (1, 3, 3, 3)
        cells = [estimate(value, places) for value, places in zip(coefficients, digits, strict=True)]
        rows.append((name, count(one.utterances), *cells, one.reason or ""))
    head = ("votes of", "utterances", "agree, %", "Fleiss' kappa", "Krippendorff's alpha", "Cohen's kappa", "")
    return Table("Agreement of votes", head, tuple(rows), "Coefficients: 1 is perfect, 0 what chance gives.")


def _alt_test(part: AltTests) -> Table:
    rows = []
    for name, one in part.by_proxy.items():
        says = one.reason or ("passes" if one.passes else "fails")
        rate, advantage = number(one.winning_rate, 2), number(one.advantage)
        rows.append(
            (name, says, number(one.epsilon, 2), rate, count(len(one.annotators)), count(one.too_few), advantage)
        )
    head = ("proxy", "result", "epsilon", "winning rate", "annotators", "with too few", "advantage")
    note = (
        "Winning rate: share of annotators who lose against the proxy, the bar is 0.5. Advantage: how often the proxy "
        "is at least as close to the other annotators as the one left out. No correction for picking the best proxy."
    )
    return Table("Alternative annotator test", head, tuple(rows), note)


def _saturation(part: Saturation) -> Table:
    largest = len(part.js_divergence)
    shown = [k for k in range(1, largest + 1) if k <= 10 or k % 5 == 0 or k == largest]
    rows: list[tuple[Cell, ...]] = [
        (
            count(k), estimate(part.js_divergence[k - 1]), number(part.distance[k - 1].estimate, 4),
            number(part.noise.estimate / k, 4), percent(part.bias_share[k - 1].estimate),
        )
        for k in shown
    ]  # fmt: skip
    rows.append((TRUTH, number(part.truth, 4), "", "", ""))
    asymptote = part.reason if part.curve is None else f"JS levels off at {estimate(part.curve.asymptote)}"
    note = f"Bias, which no number of votes removes: {estimate(part.bias)}. {asymptote}. {part.left_out:,} left out."
    head = ("votes, K", "JS to human votes, bits", "squared distance to the truth", "noise / K", "share of the bias")
    return Table(f"Synthetic votes ({part.votes})", head, tuple(rows), note)


def _reliability(part: Reliability) -> Table:
    rows = [
        (
            f"{one.low:.3f} to {one.high:.3f}",
            number(one.probability),
            estimate(one.share, 3),
            estimate(one.gap, 3, True),
            count(one.share.n),
        )
        for one in part.bins
    ]
    note = (
        f"By these votes: {part.says}. Temperature {estimate(part.temperature, 3)}; error class by class "
        f"{estimate(part.classwise_error)}, of the top label {estimate(part.top_label_error)}. Errors are above 0 "
        "also where only chance makes gaps."
    )
    head = ("probabilities", "mean", "share of votes", "share less probability", "n")
    return Table("Option probabilities beside the votes", head, tuple(rows), note)


def _levels(part: Levels) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for metric, by_level in part.scores.hard.items():
        rows.append((metric_name(metric),))
        for level, one in by_level.items():
            weighted = part.scores.weighted[metric][level]
            rows.append((level, count(part.scores.n[level]), estimate(one), estimate(weighted)))
    note = (
        f"Levels by {part.level_votes} other votes: {percent(part.misassigned_overall)} of utterances are expected to "
        "lie in another. Hard: of those put there; weighted: of all, by how likely they belong there."
    )
    head = ("level", "utterances", "hard", "weighted")
    return Table("The mean answer by ambiguity", head, tuple(rows), note)


def _drift(part: Drift) -> Table:
    moves = {f"prompts: {name}": one for name, one in part.between_prompts.items()}
    moves |= {f"orders: {name}": one.moves for name, one in part.between_orders.items()}
    rows = tuple((name, *_moved(one)) for name, one in moves.items())
    shares = [part.variance.utterance, part.variance.prompt, part.variance.order]
    note = (
        f"Of {part.answers:,} answers. Share of the variance by utterance, prompt and order: "
        f"{', '.join(number(share).text for share in shares)}. Without drift all distances are 0."
    )
    head = ("between", "utterances", "total variation", "JS, bits", "other favourite", "")
    return Table("How far answers move", head, rows, note)


def _moved(one: Moves) -> tuple[Cell, ...]:
    found = (one.total_variation, one.js_divergence, one.flips)
    return (count(one.utterances), *(estimate(value, 3) for value in found), one.reason or "")


def _class_rates(part: ClassRates) -> Table:
    rows = tuple(
        (
            one.name,
            estimate(one.rate),
            estimate(one.human),
            estimate(one.proxy),
            number(one.power, 2),
            number(one.worth, 1),
        )
        for one in part.rates
    )
    note = (
        f"{part.voted:,} of {part.utterances:,} utterances are voted on. Control: humans alone. Power: weight of the "
        "proxies, in [0, 1]; worth: how many times as many voted utterances humans alone would need."
    )
    return Table("Class rates by PPI++", ("class", "PPI++", "humans alone", "proxies", "power", "worth"), rows, note)


TABLES: dict[type, Callable[[Any], Table]] = {
    Alignment: _alignment,
    WorthInVotes: _worth,
    Agreements: _agreement,
    AltTests: _alt_test,
    Saturation: _saturation,
    Reliability: _reliability,
    Levels: _levels,
    Drift: _drift,
    ClassRates: _class_rates,
}


def worth_sentence(found: Validation) -> str:
    """What the proxies are worth, in one sentence; empty where that is not known."""
    part = found.parts.get("worth")
    if not isinstance(part, WorthInVotes):
        return ""
    name, one = next(reversed(part.overall.items()))
    interval: Interval = one.votes
    if np.isnan(interval.estimate):
        return ""
    remark = " (worse than the prior)" if one.worse_than_prior else ""
    return f"Proxies. '{name}' is worth {_votes(one)} human votes an utterance{remark}."
