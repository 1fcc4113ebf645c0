"""Bring your own votes: `load_dataset("dime_votes", data_files=...)`.

builder: its configs and splits. ballots: from tables to utterances and their votes. files: csv, Parquet and JSON lines
as tables, each row knowing its line.
"""

from dime_hf.corpora.dime_votes.builder import DimeVotes, DimeVotesConfig

__all__ = ["DimeVotes", "DimeVotesConfig"]
