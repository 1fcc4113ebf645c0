"""The metric as a page on a Hub Space: predictions and votes in, scores out. The same file in every folder."""

import json
import math
from pathlib import Path
from typing import Any

import evaluate
import gradio as gr

HERE = Path(__file__).resolve().parent
MODULE = next(path for path in sorted(HERE.glob("*.py")) if path.name != "app.py")
CARD = (HERE / "README.md").read_text(encoding="utf-8").split("---\n", 2)[2]
EXAMPLE = "[[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]", "[[3, 1, 0], [0, 1, 2]]"

metric = evaluate.load(str(MODULE), keep_in_memory=True)


def compute(predictions: str, references: str) -> dict[str, Any]:
    """Scores of what the two boxes hold."""
    try:
        scores = metric.compute(
            predictions=_rows(predictions, "predictions"), references=_rows(references, "references")
        )
    except ValueError as error:  # what the library refuses, with the reason
        raise gr.Error(str(error)) from error
    return {name: value if math.isfinite(value) else str(value) for name, value in scores.items()}


def _rows(text: str, name: str) -> list[list[float]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise gr.Error(f"`{name}` is not JSON: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, list) for row in rows):
        raise gr.Error(f"`{name}` must be a list of rows, each a list of numbers, such as [[0.5, 0.5]]")
    return rows


page = gr.Interface(
    compute,
    [
        gr.Textbox(EXAMPLE[0], label="predictions: a distribution a row", lines=5),
        gr.Textbox(EXAMPLE[1], label="references: counts of held-out human votes a row", lines=5),
    ],
    gr.JSON(label="scores"),
    title=MODULE.stem.replace("_", " ").capitalize(),
    description=metric.info.description,
    article=CARD,
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
