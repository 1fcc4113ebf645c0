# /// script
# dependencies = ["dime_hf[report]"]
# ///
"""The whole pipeline: votes -> synthetic annotations -> pooled soft labels -> DiME-Aug -> training -> honest scores.

    python examples/quickstart.py                                             # toy corpus: minutes on a CPU, offline
    python examples/quickstart.py --corpus crema_d --data_dir CREMA-D
    python examples/quickstart.py --corpus iemocap --data_dir IEMOCAP_full_release \
        --annotator Qwen/Qwen2-Audio-7B-Instruct --encoder microsoft/wavlm-base

Everything it makes lies in outputs/quickstart: scores.json, scores.png, the datasets, the answers and the model.
The same as `dime-hf demo`, whose steps stand in dime_hf/cli/demo.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["demo", *sys.argv[1:]]):
        sys.exit(code)
