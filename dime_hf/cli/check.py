"""Compare a corpus with the published counts of the release that it is most like; exits with 1 if they differ.

dime-hf check iemocap --data_dir IEMOCAP_full_release
dime-hf check crema_d --data_dir CREMA-D --labels_only --json
"""

from __future__ import annotations

import argparse
import json
import sys

from dime_hf import prepare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("corpus", choices=prepare.PUBLISHED)
    prepare.add_folder_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print what was found as JSON")


def run(given: argparse.Namespace) -> None:
    from dime_hf.evidence import plain

    found, same = prepare.check(given.corpus, given)
    if given.json:
        print(json.dumps({"agrees": bool(found), **plain(found), "same_recordings": same}, indent=2))
    else:
        print(prepare.told(found, same))
    if not found:
        sys.exit(1)
