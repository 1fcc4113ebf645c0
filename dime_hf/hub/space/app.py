"""A page to listen to utterances, the most ambiguous first, and to compare what humans, proxies and models say.

It stands alone: on a Space there is this file, and not the library. It reads `data/*.parquet` beside it, or the
dataset that `settings.json` names.
"""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import soundfile

HERE = Path(__file__).parent
ORDERS = {"most ambiguous first": -1, "clearest first": 1, "as they come": 0}
COLOUR = "#56b4e999"  # of the bars: text is readable on it, be the page light or dark


def load(folder: Path = HERE) -> dict[str, datasets.Dataset]:
    """Read the splits, with recordings as the bytes of their files."""
    settings = folder / "settings.json"
    if settings.is_file():
        splits = datasets.load_dataset(json.loads(settings.read_text(encoding="utf-8"))["dataset"])
    else:
        files = {path.stem: str(path) for path in sorted(folder.glob("data/*.parquet"))}
        splits = datasets.load_dataset("parquet", data_files=files)
    audio = datasets.Audio(decode=False)
    return {name: one.cast_column("audio", audio) if "audio" in one.features else one for name, one in splits.items()}


def entropy(labels: np.ndarray) -> np.ndarray:
    """Bits (N,) of distributions (N, C); NaN where there is none."""
    logs = np.log2(labels, where=labels > 0, out=np.zeros_like(labels))
    return -(labels * logs).sum(axis=1) + np.where(np.isnan(labels).any(axis=1), np.nan, 0.0)


def ranked(split: datasets.Dataset, order: str) -> np.ndarray:
    """Rows that have a soft label, in one of the `ORDERS`."""
    size = len(split.features["hard_label"].names)
    labels = np.array([row or [np.nan] * size for row in split["soft_label"]], dtype=float)
    bits = entropy(labels)
    rows = np.flatnonzero(~np.isnan(bits))
    return rows[np.argsort(ORDERS[order] * bits[rows], kind="stable")]


def distributions(row: dict[str, Any]) -> dict[str, list[float]]:
    """What is known of an utterance, by who says it: the mean of all good answers stands for the proxies."""
    found = {}
    counts = np.array(row.get("vote_counts") or [0.0])
    if counts.sum() > 0:
        found[f"human votes ({counts.sum():g})"] = (counts / counts.sum()).tolist()
    answers = [answer["distribution"] for answer in row.get("answers") or [] if answer["distribution"] is not None]
    if answers:
        found[f"proxies (answers: {len(answers)})"] = np.mean(answers, axis=0).tolist()
    found[f"soft label ({row.get('soft_label_source')})"] = row["soft_label"]
    if row.get("predicted") is not None:
        found["predicted"] = row["predicted"]
    return found


def table(found: dict[str, list[float]], classes: list[str]) -> str:
    """Return the distributions as a table in HTML, each number on a bar of its length."""
    lines = ["<tr><th></th>" + "".join(f"<th>{html.escape(name)}</th>" for name in classes) + "</tr>"]
    for who, shares in found.items():
        cells = "".join(
            f'<td style="background:linear-gradient(90deg,{COLOUR} {100 * share:.1f}%,transparent 0)">{share:.4f}</td>'
            for share in shares
        )
        lines.append(f"<tr><th>{html.escape(who)}</th>{cells}</tr>")
    return f'<table style="width:100%;table-layout:fixed">{"".join(lines)}</table>'


def about(row: dict[str, Any]) -> str:
    """Return the id, the ambiguity, the length and the words of an utterance, in HTML."""
    told = [f"<b>{html.escape(row['id'])}</b>", f"{entropy(np.array([row['soft_label']]))[0]:.3f} bits"]
    if row.get("duration") is not None:
        told.append(f"{row['duration']:.2f} s")
    if row.get("text"):
        told.append(f"<q>{html.escape(row['text'])}</q>")
    return " · ".join(told)


def sound(row: dict[str, Any]) -> tuple[int, np.ndarray] | None:
    """Rate and samples of a recording, if it is here."""
    content = (row.get("audio") or {}).get("bytes")
    if content is None:
        return None
    samples, rate = soundfile.read(io.BytesIO(content), dtype="int16")
    return rate, samples


def page(splits: dict[str, datasets.Dataset]) -> Any:
    """Return the page as `gradio` blocks."""
    import gradio

    first = next(iter(splits))
    places = {(name, order): ranked(split, order) for name, split in splits.items() for order in ORDERS}
    most = {name: max(1, len(places[name, "as they come"])) for name in splits}
    plays = any("audio" in split.features for split in splits.values())

    def show(split: str, order: str, place: int) -> tuple[str, str, tuple[int, np.ndarray] | None]:
        """The utterance at a place (from 1 on) of an order."""
        rows = places[split, order]
        if not len(rows):
            return "No utterance has a soft label.", "", None
        row = splits[split][int(rows[min(max(int(place), 1), len(rows)) - 1])]
        found = table(distributions(row), splits[split].features["hard_label"].names)
        return about(row), found, sound(row)

    with gradio.Blocks(title="Soft labels of speech emotion") as blocks:
        gradio.Markdown("# Soft labels of speech emotion")
        split = gradio.Dropdown(list(splits), value=first, label="Split")
        order = gradio.Radio(list(ORDERS), value="most ambiguous first", label="Order")
        place = gradio.Slider(1, most[first], value=1, step=1, label="Utterance")
        told, bars = gradio.HTML(), gradio.HTML()
        player = gradio.Audio(
            label="Recording", interactive=False, visible=plays, buttons=[]
        )  # nothing to pass it on by
        given, shown = [split, order, place], [told, bars, player]
        blocks.load(show, given, shown, api_name="show")
        place.change(show, given, shown, api_visibility="private")
        order.change(show, given, shown, api_visibility="private")
        split.change(
            lambda name: gradio.Slider(maximum=most[name], value=1), split, place, api_visibility="private"
        ).then(show, given, shown, api_visibility="private")
    return blocks


if __name__ == "__main__":
    page(load()).launch()
