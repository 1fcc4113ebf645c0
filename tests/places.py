"""Where things lie."""

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("DIME_HF_DATA", ROOT.parent / "shared" / "data"))  # open recordings and votes, or nothing
