"""Runs that are killed, many times: `python -m tests.soak --runs 50`."""
