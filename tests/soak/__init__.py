"""Long checks: runs that are killed, and error rates of verdicts: `python -m tests.soak --runs 50 --corpora 500`."""
