# /// script
# dependencies = ["dime_hf"]
# ///
"""Tune an audio LM on soft labels with LoRA, and score it before and after on speakers that it never heard.

    python examples/train_audio_lm.py                                          # toy corpus: minutes on a CPU, offline
    python examples/train_audio_lm.py --corpus iemocap --data_dir IEMOCAP --annotator Qwen/Qwen2-Audio-7B-Instruct \\
        --dtype bfloat16 --modality audio                                      # one GPU; --quantization 4bit: QLoRA
    python examples/train_audio_lm.py --corpus iemocap ... --recipe paper --head options

In the end: outputs/train_audio_lm/tuned (adapters that peft loads, and AudioLMAnnotator(..., adapter=folder)), merged
(an ordinary checkpoint, with --merge) and scores.json. The tuned annotator refuses the utterances it was tuned on.
The same as `dime-hf train --audio_lm`, whose steps stand in dime_hf/cli/tune.py.
"""

import sys

from dime_hf.cli import main

if __name__ == "__main__":
    if code := main(["train", "--audio_lm", *sys.argv[1:]]):
        sys.exit(code)
