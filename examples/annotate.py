# /// script
# dependencies = ["dime_hf"]
# ///
"""Ask an audio LM about every utterance of a corpus, in one process or in one a GPU.

    python examples/annotate.py                                                # toy corpus: a minute on a CPU, offline
    python examples/annotate.py --corpus crema_d --data_dir CREMA-D --annotator Qwen/Qwen2-Audio-7B-Instruct --dry_run
    python examples/annotate.py --corpus crema_d ... --base_url http://node:8000/v1 --allow_upload crema_d   # vLLM
    accelerate launch --multi_gpu --num_processes 8 examples/annotate.py --corpus iemocap --data_dir ...

Answers lie in outputs/annotate/stores: the same command, with any number of processes, goes on where it was stopped.
In the end: outputs/annotate/annotated (datasets.load_from_disk), answers.sqlite and card.md.
The same as `dime-hf annotate`, whose steps stand in dime_hf/cli/annotate.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["annotate", *sys.argv[1:]]):
        sys.exit(code)
