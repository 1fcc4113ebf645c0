"""Load a folder of votes from the command line: python dataset_scripts/dime_votes/dime_votes.py --help

`--data_dir` is a folder with `votes.csv` (or .tsv, .parquet, .jsonl) and, where there is one, `metadata.csv`. The
builder lives in the library; `load_dataset("dataset_scripts/dime_votes", ...)` resolves to it after `import dime_hf`.
"""

from dime_hf.prepare import main

if __name__ == "__main__":
    main("dime_votes")
