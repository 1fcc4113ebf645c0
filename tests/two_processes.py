"""Train alike in one process and in two that accelerate launches on CPU, and save the weights of each to a folder.

A process of its own, since it forks: the two need not import anything again.
"""

import sys

import torch
from accelerate import debug_launcher

from dime_hf import SoftLabelConfig, SoftLabelTrainer
from tests.test_trainer import EXTRACTOR, half_seconds, tiny_encoder

BATCH = 8  # over all processes


def main(path, processes):
    rows = half_seconds()
    args = SoftLabelConfig(
        f"{path}.run", per_device_train_batch_size=BATCH // processes, max_steps=3, learning_rate=0.5, optim="sgd",
        save_strategy="no", use_cpu=True, disable_tqdm=True, ddp_backend="gloo" if processes > 1 else None,
    )  # fmt: skip
    trainer = SoftLabelTrainer(tiny_encoder(), args, train_dataset=rows, eval_dataset=rows, processing_class=EXTRACTOR)
    trainer.train()
    assert trainer.args.world_size == processes
    scores = trainer.evaluate()
    predicted = trainer.predict_distributions(rows)
    if trainer.is_world_process_zero():
        torch.save({"weights": trainer.model.state_dict(), "scores": scores, "predicted": predicted}, path)


if __name__ == "__main__":
    debug_launcher(main, (f"{sys.argv[1]}/2.pt", 2), num_processes=2)
    main(f"{sys.argv[1]}/1.pt", processes=1)
