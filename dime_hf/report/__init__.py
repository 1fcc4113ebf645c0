"""Tables, figures and one page of what was found: every number beside its control, its interval, the truth's score.

`report(...)` takes what the library returns and makes a page that needs no network, the same as Markdown and as JSON:

| module | what it makes |
|---|---|
| `run` | `report` and the `Report` that it returns |
| `corpus`, `findings`, `checks`, `training` | the sections: data, scores, validation, training and augmentation |
| `explorer` | the utterances one by one, as columns for the page's script |
| `blocks`, `figures` | what a section is made of: texts, tables, figures |
| `page`, `markdown` | the page, and the same as Markdown |
| `scores` | small tables and a figure for the terminal |
"""

from dime_hf.report.run import Report, report
from dime_hf.report.scores import level_table, plot_scores, score_rows, score_table

__all__ = [
    "Report",
    "level_table",
    "plot_scores",
    "report",
    "score_rows",
    "score_table",
]
