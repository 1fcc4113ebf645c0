"""Prepare and check iemocap from the command line: python dataset_scripts/iemocap/iemocap.py --help

The builder lives in the library; `load_dataset("dataset_scripts/iemocap", data_dir=...)` resolves to it after `import
dime_hf`.
"""

from dime_hf.prepare import main

if __name__ == "__main__":
    main("iemocap")
