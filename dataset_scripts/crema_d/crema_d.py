"""Prepare and check crema_d from the command line: python dataset_scripts/crema_d/crema_d.py --help

The builder lives in the library; `load_dataset("dataset_scripts/crema_d", data_dir=...)` resolves to it after `import
dime_hf`.
"""

from dime_hf.prepare import main

if __name__ == "__main__":
    main("crema_d")
