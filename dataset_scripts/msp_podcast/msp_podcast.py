"""Prepare and check msp_podcast from the command line: python dataset_scripts/msp_podcast/msp_podcast.py --help

The builder lives in the library; `load_dataset("dataset_scripts/msp_podcast", data_dir=...)` resolves to it after
`import dime_hf`.
"""

from dime_hf.prepare import main

if __name__ == "__main__":
    main("msp_podcast")
