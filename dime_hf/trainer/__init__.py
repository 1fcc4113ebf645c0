"""`SoftLabelTrainer`: transformers' `Trainer` on soft labels, its options, and the collator that reads the sound.

Every speech encoder of transformers that has a classification head is trained as it is. A recording is heard alike in
a batch and alone where the family masks its padding: w2v-BERT, and Wav2Vec2, HuBERT and WavLM with
`feat_extract_norm="layer"`. Those with "group" (the base sizes) normalise over the whole row, padding included, and
hear it otherwise. Whisper's encoder and AST have one length (30 s, 10.24 s): what is longer is cut, what is shorter
costs as much.

`torchrun` and `accelerate launch` start several processes. FSDP, DeepSpeed and 4-bit weights go by the flags of
`TrainingArguments`, as with `Trainer`; they were not run.

ONNX: `optimum-onnx` 0.1 wants transformers < 4.58. With the packages onnx and onnxscript, torch itself exports a
module whose `forward(input_values)` returns `model(input_values).logits`: `torch.onnx.export(module, (sounds,),
dynamo=True, dynamic_shapes={"input_values": {0: Dim("batch"), 1: Dim("time", min=1000, max=480_000)}})`. It was tried
on a small Wav2Vec2 without a mask alone.
"""

from __future__ import annotations

from dime_hf.trainer.collator import LABELS, SoftLabelCollator
from dime_hf.trainer.config import SoftLabelConfig
from dime_hf.trainer.training import SoftLabelTrainer

__all__ = ["LABELS", "SoftLabelCollator", "SoftLabelConfig", "SoftLabelTrainer"]
