"""Label Studio: tasks as JSON, an annotation a vote, with the result of each of four controls.

Controls of `labeling_config`: the choices `emotion` (one, or several), the choices `secondary`, the text areas `note`
and `annotator`. The last keeps who voted, because Label Studio's own `completed_by` can only be a user of the server:
without it, annotations go by the user's e-mail address or number. Tasks refer to recordings, and hold none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn
from xml.sax.saxutils import quoteattr

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dime_hf import columns
from dime_hf.columns import AUDIO, EXTERNAL, ID, SELF
from dime_hf.corpora.policy import inventory
from dime_hf.errors import ColumnError, CorpusError, did_you_mean
from dime_hf.interchange.exchange import (
    Exported,
    below,
    cast_votes,
    dataset_of,
    left_behind,
    lists,
    logger,
    named,
    paths,
    places,
    recordings,
)
from dime_hf.stage import read_column

EMOTION, SECONDARY, NOTE, ANNOTATOR, KIND = "emotion", "secondary", "note", "annotator", "kind"
FACTS = (columns.TEXT, columns.SPEAKER, columns.GENDER, columns.SESSION, columns.DIALOG)
CARRIED = {ID, AUDIO, columns.HUMAN_VOTES, *columns.label_features(["x", "y"]), *FACTS}
TEXTS = (ANNOTATOR, KIND, NOTE)
PAGE = 1000  # utterances


class _Vote(NamedTuple):
    row: int
    annotator: str | None
    kind: str
    choices: Sequence[str]
    secondary: Sequence[str]
    note: str


def labeling_config(dataset: datasets.Dataset, choice: Literal["single", "multiple"] | None = None) -> str:
    """Return the XML of a labeling interface for the labels of a dataset's votes, to set a project up with.

    `choice`: how many labels an annotator may tick (default: several, if any vote of the dataset names several).
    """
    if choice is None:
        chosen = Exported.read(dataset).votes.answers.field("choices")
        choice = "multiple" if pc.any(pc.greater(pc.list_value_length(chosen), 1)).as_py() else "single"
    if choice not in ("single", "multiple"):
        raise ColumnError(f"`choice` is {choice!r}.{did_you_mean(str(choice), ['single', 'multiple'])}")
    labels = "".join(f"<Choice value={quoteattr(label)}/>" for label in inventory(dataset))
    return (
        f'<View><Audio name="audio" value="$audio"/>'
        f'<Choices name="{EMOTION}" toName="audio" choice="{choice}" required="true">{labels}</Choices>'
        f'<Choices name="{SECONDARY}" toName="audio" choice="multiple">{labels}</Choices>'
        f'<TextArea name="{NOTE}" toName="audio" maxSubmissions="1"/>'
        f'<TextArea name="{ANNOTATOR}" toName="audio" maxSubmissions="1"/>'
        f'<Choices name="{KIND}" toName="audio"><Choice value="{EXTERNAL}"/><Choice value="{SELF}"/></Choices></View>'
    )


def to_label_studio(
    dataset: datasets.Dataset,
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    url: str = "",
    users: Mapping[str, int | str] | None = None,
) -> int:
    """Write a dataset's utterances and votes as the tasks of a JSON file, and return how many.

    `audio` of a task is the path of the recording, or `url` and the path in the folder `root`
    (url="/data/local-files/?d=" for files that the server has; utterances without a recording have none). `users`
    are the server's users by annotator, a number or an e-mail address. Columns other than ids, votes, words and
    groups are not written and are named in a warning. Raises `ColumnError`.
    """
    exported = Exported.read(dataset)
    left = [name for name in dataset.column_names if name not in CARRIED]
    left_behind("Label Studio", {f"columns ({', '.join(left)})": len(left)})
    sounds = [
        None if sound is None else url + (sound if root is None else below(sound, root)) for sound in paths(dataset)
    ]
    facts = {name: read_column(dataset, name).to_pylist() for name in FACTS if name in dataset.column_names}
    votes = zip(exported.ids.to_pylist(), _written(exported, users or {}), strict=True)
    with open(path, "w", encoding="utf-8") as file:
        for number, (id, annotations) in enumerate(votes):
            told = {ID: id, AUDIO: sounds[number]} | {name: values[number] for name, values in facts.items()}
            data = {name: value for name, value in told.items() if value is not None}
            task = {"data": data, "annotations": annotations}
            file.write((",\n" if number else "[\n") + json.dumps(task, ensure_ascii=False))
        file.write("\n]\n" if len(dataset) else "[]\n")
    return len(dataset)


def from_label_studio(
    path: str | os.PathLike[str],
    *,
    question: str = EMOTION,
    classes: Sequence[str] | None = None,
    root: str | os.PathLike[str] | None = None,
    url: str = "",
) -> datasets.Dataset:
    """Return the tasks of Label Studio's JSON export as a dataset: a row a task, each label its own class.

    `question` names the choices that are the votes; `classes` are all labels (default: those found). An annotator is
    the text of the control `annotator`, or else the user who completed the annotation. Ids are those in the task's
    data, or else the task's own. `url` and `root` are what `to_label_studio` was given. Skipped annotations and
    those without an answer to `question` are no votes, and are counted in a warning. Raises `CorpusError` with the
    file and the task for anything else.
    """
    tasks = _read(Path(path))
    ids = [_id(path, number, task) for number, task in enumerate(tasks, start=1)]
    if len(set(ids)) < len(ids):
        again = next(number for number, id in enumerate(ids) if id in ids[:number])
        _refuse(path, again + 1, f"the id {ids[again]!r} comes again: one task an utterance is needed")
    votes = list(_votes(path, tasks, question))
    flat = [label for vote in votes for label in (*vote.choices, *vote.secondary)]
    known, _ = places(pa.array(flat, pa.string()), classes, os.fspath(path))
    place = {label: number for number, label in enumerate(known)}
    choices, secondary = (_lists([getattr(vote, name) for vote in votes], place) for name in ("choices", SECONDARY))
    annotator, kind, note = (pa.array([getattr(vote, name) for vote in votes], pa.string()) for name in TEXTS)
    row = np.array([vote.row for vote in votes], dtype=np.int64)
    cast = cast_votes(known, len(tasks), row, named(annotator), choices, secondary, kind, note)
    facts = {name: pa.array([_text(task["data"].get(name)) for task in tasks], pa.string()) for name in FACTS}
    sounds = [_local(task["data"].get(AUDIO), root, url) for task in tasks]
    facts |= recordings(pa.array(sounds, pa.string()), os.fspath(path))
    return dataset_of(pa.array(ids, pa.string()), cast, facts, f"Votes from Label Studio ({Path(path).name}).")


def _written(exported: Exported, users: Mapping[str, int | str]) -> Iterator[list[dict[str, Any]]]:
    """The annotations of every utterance, made page by page."""
    cast, names = exported.votes, exported.numbered()
    for start in range(0, cast.rows, PAGE):
        first, end = np.searchsorted(cast.row, [start, min(start + PAGE, cast.rows)])
        page: list[list[dict[str, Any]]] = [[] for _ in range(min(PAGE, cast.rows - start))]
        answers = cast.answers.take(pa.array(cast.answer[first:end])).to_pylist()
        who = (values[first:end].to_pylist() for values in (names, cast.annotator))
        for row, answer, name, known in zip(cast.row[first:end] - start, answers, *who, strict=True):
            result = [*_results(answer, cast.inventory), _result(ANNOTATOR, "textarea", [name])]
            page[row].append({"result": result} | _completed_by(users.get(known)))
        yield from page


def _completed_by(user: int | str | None) -> dict[str, Any]:
    if user is None:
        return {}
    return {"completed_by": {"email": user} if isinstance(user, str) else user}


def _results(answer: Mapping[str, Any], labels: Sequence[str]) -> list[dict[str, Any]]:
    """What a vote says, by control."""
    made = [_result(EMOTION, "choices", [labels[place] for place in answer["choices"]])]
    if answer[SECONDARY]:
        made.append(_result(SECONDARY, "choices", [labels[place] for place in answer[SECONDARY]]))
    if answer[NOTE]:
        made.append(_result(NOTE, "textarea", [answer[NOTE]]))
    if answer[KIND] != EXTERNAL:
        made.append(_result(KIND, "choices", [answer[KIND]]))
    return made


def _result(control: str, type: str, values: list[str]) -> dict[str, Any]:
    value = {"choices" if type == "choices" else "text": values}
    return {"from_name": control, "to_name": "audio", "type": type, "value": value}


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        tasks = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{path}: is no JSON ({error}); export the project as JSON") from error
    if not isinstance(tasks, list) or not tasks:
        raise CorpusError(f"{path}: must hold a list of tasks; export the project as JSON")
    for number, task in enumerate(tasks, start=1):
        if not isinstance(task, dict) or not isinstance(task.get("data"), dict):
            _refuse(path, number, "has no `data`; export the project as JSON, not as JSON-MIN")
        if not isinstance(task.get("annotations", []), list):
            _refuse(path, number, f"`annotations` must be a list, not {task['annotations']!r}")
    return tasks


def _refuse(path: str | os.PathLike[str], task: int, what: str) -> NoReturn:
    raise CorpusError(f"{os.fspath(path)}, task {task}: {what}")


def _id(path: str | os.PathLike[str], number: int, task: Mapping[str, Any]) -> str:
    found = task["data"].get(ID, task.get("id"))
    if not isinstance(found, (str, int)) or found == "":
        _refuse(path, number, "neither its `data` nor itself has an `id`")
    return str(found)


def _votes(path: str | os.PathLike[str], tasks: Sequence[Mapping[str, Any]], question: str) -> Iterator[_Vote]:
    """Votes of all tasks; what is no vote is counted."""
    skipped, silent, asked = 0, 0, set()
    for number, task in enumerate(tasks, start=1):
        for annotation in task.get("annotations", []):
            said = _said(path, number, annotation, (question, SECONDARY, *TEXTS))
            asked |= set(said)
            if annotation.get("was_cancelled"):
                skipped += 1
            elif question not in said:
                silent += 1
            else:
                yield _vote(path, number, annotation, said, question)
    if silent and question not in asked:
        raise CorpusError(
            f"{os.fspath(path)}: nobody answers the question {question!r}.{did_you_mean(question, asked)}"
        )
    if skipped or silent:
        logger.warning("%s: %d annotations were skipped, %d have no answer to %r", path, skipped, silent, question)


def _said(path: str | os.PathLike[str], number: int, annotation: Any, wanted: Sequence[str]) -> dict[str, Any]:
    """What an annotation says by control: lists of choices or texts, of those that are wanted."""
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        _refuse(path, number, "an annotation has no list `result`")
    said: dict[str, Any] = {}
    for result in annotation["result"]:
        value = result.get("value") if isinstance(result, dict) else None
        if not isinstance(value, dict) or not isinstance(control := result.get("from_name"), str):
            _refuse(path, number, f"a result has no `from_name` and `value`: {result!r}")
        if control in wanted and (control in said or "start" in value):
            _refuse(path, number, f"{control!r} is answered twice, or of a part: one answer a recording is needed")
        said[control] = value.get("choices", value.get("text"))
    return said


def _vote(
    path: str | os.PathLike[str],
    number: int,
    annotation: Mapping[str, Any],
    said: Mapping[str, Any],
    question: str,
) -> _Vote:
    for control in (question, SECONDARY, KIND):
        choices = said.get(control, [])
        if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
            _refuse(path, number, f"{control!r} must be answered by a list of choices, not {choices!r}")
    kind = "".join(said.get(KIND, [])) or EXTERNAL
    if kind not in (EXTERNAL, SELF):
        _refuse(path, number, f"{KIND!r} must be {EXTERNAL!r} or {SELF!r}, not {kind!r}")
    user = annotation.get("completed_by")
    user = user.get("email", user.get("id")) if isinstance(user, dict) else user
    who = _text(said.get(ANNOTATOR)) or (None if user is None else str(user))
    return _Vote(number - 1, who, kind, said[question], said.get(SECONDARY, []), _text(said.get(NOTE)) or "")


def _text(value: Any) -> str | None:
    """A text, of a text area the lines."""
    if isinstance(value, list):
        return "\n".join(map(str, value))
    return None if value is None else str(value)


def _local(sound: Any, root: str | os.PathLike[str] | None, url: str) -> str | None:
    """Where a task's recording lies on this machine."""
    if not isinstance(sound, str):
        return None
    if root is None:
        return sound.removeprefix(url)
    return os.path.join(root, sound.removeprefix(url))


def _lists(values: Sequence[Sequence[str]], place: Mapping[str, int]) -> pa.ListArray:
    vote = np.repeat(np.arange(len(values)), [len(labels) for labels in values])
    return lists(vote, np.array([place[label] for labels in values for label in labels], np.int64), len(values))
