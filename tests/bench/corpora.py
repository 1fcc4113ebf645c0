"""Reading a corpus of IEMOCAP's size against `load_dataset("csv")` on the same rows flattened."""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path
from typing import Any

import datasets

import dime_hf
from dime_hf.corpora.iemocap import CODES
from tests.bench.timing import compare

TURNS = {"Session1": 1819, "Session2": 1811, "Session3": 2136, "Session4": 2103, "Session5": 2170}
DIALOGS = 30  # a session
VOTES = {  # the corpus's own share of votes: annotators mostly agree, and often on the same few classes
    "Frustration": 7514, "Neutral": 6406, "Anger": 4433, "Excited": 4365, "Sadness": 3694, "Happiness": 3076,
    "Other": 783, "Surprise": 658, "Fear": 348, "Disgust": 137,
}  # fmt: skip


def iemocap_labels() -> dict[str, Any]:
    """Baseline: the csv builder on one file with a row a turn, votes as JSON text. Both build anew each time."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_corpus(root / "IEMOCAP")
        rows = datasets.concatenate_datasets(list(load(root / "IEMOCAP", root / "first").values()))
        flatten(rows, root / "flat.csv")
        numbers = itertools.count()
        return compare(
            "iemocap_labels",
            lambda: load(root / "IEMOCAP", root / f"ours{next(numbers)}"),
            lambda: datasets.load_dataset(
                "csv", data_files=str(root / "flat.csv"), cache_dir=str(root / f"csv{next(numbers)}")
            ),
            unit="s a first load",
            n=len(rows),
            repetitions=15,
        )


def load(corpus: Path, cache: Path) -> datasets.DatasetDict:
    """First load of the corpus into an empty cache."""
    return dime_hf.load_dataset("iemocap", "10class", corpus, cache_dir=str(cache))


def flatten(rows: datasets.Dataset, path: Path) -> None:
    """Write the rows as one CSV: nested columns as JSON text."""
    table = rows.to_pandas()
    for name in ("human_votes", "vote_counts", "soft_label"):
        table[name] = [json.dumps(value) for value in rows[name]]
    table["audio"] = [cell["path"] for cell in rows["audio"]]
    table.to_csv(path, index=False)


def write_corpus(root: Path) -> None:
    """A corpus of 10,039 turns in IEMOCAP's grammar; its recordings are empty files, which no load opens."""
    rng = random.Random(0)
    for number, (session, turns) in enumerate(TURNS.items(), start=1):
        for dialog in range(DIALOGS):
            name = f"Ses0{number}{'FM'[dialog % 2]}_impro{dialog:02}"
            count = turns // DIALOGS + (dialog < turns % DIALOGS)
            write_dialog(root / session, name, count, rng)


def write_dialog(session: Path, dialog: str, turns: int, rng: random.Random) -> None:
    folders = [session / "dialog/EmoEvaluation", session / "dialog/transcriptions", session / "sentences/wav" / dialog]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{dialog}_{'FM'[turn % 2]}{turn:03}" for turn in range(turns)]
    (folders[0] / f"{dialog}.txt").write_text("% header\n\n" + "\n".join(block(id, rng) for id in ids))
    (folders[1] / f"{dialog}.txt").write_text(
        "".join(f"{id} [000.0000-004.4600]: Some words that were said.\n" for id in ids)
    )
    for id in ids:
        (folders[2] / f"{id}.wav").touch()


def block(id: str, rng: random.Random) -> str:
    """A turn with three categorical votes, three in five of them on the same label, and two of attributes."""
    drawn = rng.choices(list(VOTES), list(VOTES.values()), k=4)
    labels = [drawn[0] if rng.random() < 0.6 else label for label in drawn[1:]]
    ratings = [min(5, max(1, round(rng.gauss(3, 0.8)))) for _ in range(3)]
    lines = [f"[0.0000 - 4.4600]\t{id}\t{rng.choice([*CODES, 'xxx'])}\t[2.5000, 2.5000, 2.5000]"]
    lines += [f"C-E{n}:\t{label};\t()" for n, label in enumerate(labels, start=1)]
    lines += [f"A-E{n}:\tval {ratings[0]}; act {ratings[1]}; dom  {ratings[2]};\t()" for n in (1, 2)]
    return "\n".join(lines) + "\n"
