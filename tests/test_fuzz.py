"""A short, repeatable part of `python -m tests.fuzz`."""

import json

import pytest

from dime_hf.corpora import crema_d, iemocap
from dime_hf.corpora.dime_votes import files
from dime_hf.corpora.msp_podcast import forms
from tests.fuzz import harness
from tests.fuzz.__main__ import TARGETS

BY_NAME = {target.name: target for target in TARGETS}


@pytest.mark.parametrize("name", BY_NAME)
def test_mutants_are_parsed_with_all_their_votes_or_refused(name):
    outcomes = harness.run([BY_NAME[name]], seed=0, mutants=40)[name]
    assert harness.total(outcomes) == 40
    assert outcomes["same"]
    assert outcomes["refused"]


def unreadable_lines_are_skipped(lines):
    votes = [iemocap._vote(line) for line in lines.split("\n")[:-1]]
    return tuple(vote for vote in votes if vote)


def the_last_vote_of_an_annotator_counts(lines):
    votes = [iemocap._vote(line) for line in lines.split("\n")[:-1]]
    return None if None in votes else tuple({vote.annotator: vote for vote in votes}.values())


@pytest.mark.parametrize("reader", [unreadable_lines_are_skipped, the_last_vote_of_an_annotator_counts])
def test_a_reader_that_loses_votes_is_found_out(reader, monkeypatch):
    monkeypatch.setattr(iemocap, "parse_votes", reader)
    with pytest.raises(harness.MutantError) as found:
        harness.run([BY_NAME["iemocap evaluation"]], seed=0, mutants=4000)
    assert found.value.mutant


def test_a_reader_that_trusts_damaged_counts_is_found_out(monkeypatch, tmp_path):
    def trusting(_, clip):
        return tuple(int(count) if count.isdecimal() else 0 for count in clip.counts)

    monkeypatch.setattr(crema_d.CremaDFolder, "_counts", trusting)
    with pytest.raises(harness.MutantError) as found:
        harness.run([BY_NAME["crema_d table"]], seed=0, mutants=4000)
    assert found.value.save(tmp_path).read_bytes() == found.value.mutant


def test_a_reader_that_keeps_one_vote_of_a_worker_is_found_out(monkeypatch):
    monkeypatch.setattr(forms, "workers", lambda entry: dict(entry).items())
    with pytest.raises(harness.MutantError, match="written are votes on"):
        harness.run([BY_NAME["msp_podcast json"]], seed=0, mutants=4000)


def test_a_reader_that_skips_lines_is_found_out(monkeypatch):
    def skipping(_, lines):
        return [json.loads(line) for line in lines if files._is_object(line, dict)]

    monkeypatch.setattr(files, "_json_rows", skipping)
    with pytest.raises(harness.MutantError):
        harness.run([BY_NAME["dime_votes lines"]], seed=0, mutants=4000)
