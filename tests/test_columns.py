"""The vocabulary: errors for missing columns and splits, groups, class order."""

import datasets
import pytest

from dime_hf import columns
from dime_hf.errors import ColumnError


def test_missing_column_names_the_nearest():
    dataset = datasets.Dataset.from_dict({"soft_label": [[1.0]], "id": ["a"]})
    with pytest.raises(ColumnError, match="no column 'soft_labels'. Did you mean 'soft_label'?"):
        columns.require(dataset, "soft_labels")


def test_dataset_dict_where_a_split_is_needed():
    splits = datasets.DatasetDict(test=datasets.Dataset.from_dict({"id": ["a"]}))
    with pytest.raises(ColumnError, match=r"did you mean `train\['test'\]`"):
        columns.require(splits, "id", argument="train")


def test_groups_fall_back_from_speaker_to_dialog_to_id():
    batch = {"speaker": ["s", None, None], "dialog": ["d", "d", None], "id": ["1", "2", "3"]}
    assert columns.groups(batch) == ["speaker:s", "dialog:d", "id:3"]
    joined = columns.groups({**batch, "corpus": ["a", "a", "b"]})
    assert joined == ["a/speaker:s", "a/dialog:d", "b/id:3"]


def test_house_order():
    assert columns.in_house_order(["sad", "disgust", "angry", "bored"]) == ("angry", "sad", "disgust", "bored")
