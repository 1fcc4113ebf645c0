"""Ask an audio LM about every utterance of a corpus, in one process or in one a GPU.

    dime-hf annotate                                          # toy corpus: a minute on a CPU, offline
    dime-hf annotate --corpus crema_d --data_dir CREMA-D --annotator Qwen/Qwen2-Audio-7B-Instruct --dry_run
    dime-hf annotate --corpus crema_d ... --base_url http://node:8000/v1 --allow_upload crema_d        # vLLM
    accelerate launch --multi_gpu --num_processes 8 -m dime_hf annotate --corpus iemocap --data_dir ...

Answers lie in outputs/annotate/stores: the same command, with any number of processes, goes on where it was stopped.
In the end: outputs/annotate/annotated (datasets.load_from_disk), answers.sqlite and card.md.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import Any

from dime_hf.cli.choices import PROMPTS, STRATEGIES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", default="toy", help="toy, iemocap, ..., or a split saved by `save_to_disk`")
    parser.add_argument("--data_dir", help="folder of the corpus")
    parser.add_argument("--split", default="all", help="train, test, session1, ... (default: all)")
    parser.add_argument("--limit", type=int, help="the first so many utterances alone")
    parser.add_argument("--annotator", help="an audio LM: folder or Hub id (toy corpus: a small one, taught here)")
    parser.add_argument("--base_url", help="an OpenAI-compatible endpoint that serves the annotator")
    parser.add_argument("--key_from", help="environment variable with the endpoint's key")
    parser.add_argument("--allow_upload", nargs="*", default=[], help="corpora that may be sent to the endpoint")
    parser.add_argument("--prompts", nargs="+", choices=PROMPTS, help="default: all")
    parser.add_argument("--strategy", default="options", choices=STRATEGIES)
    parser.add_argument("--orders", type=int, default=1, help="option orders a prompt (options)")
    parser.add_argument("--batch_size", type=int, default=8)
    parser.add_argument("--retry", nargs="*", help="kinds of failures to ask again (default: all; none: leave them)")
    parser.add_argument("--output", type=Path, default=Path("outputs/annotate"))
    parser.add_argument("--dry_run", action="store_true", help="print what would be asked, and ask nothing")


def run(given: argparse.Namespace) -> None:
    import datasets
    import torch
    from accelerate import PartialState

    from dime_hf.annotate import StoreFolder, annotate_shard, plan

    # 1. One process a GPU; they meet again in the end, however long the others take
    state = PartialState(cpu=not torch.accelerator.is_available(), timeout=timedelta(days=365))
    if not state.is_main_process:
        datasets.disable_progress_bars()
    # 2. The utterances and the annotator: made by one process, then found by the others
    with state.main_process_first():
        dataset = dataset_of(given)
        annotator = annotator_of(given, dataset, str(state.device))
    # 3. What would be asked
    stores = given.output / "stores"
    if given.dry_run:
        if state.is_main_process:
            with StoreFolder(stores, "plan") as store:
                print(plan(dataset, annotator, store, retry=given.retry))
        return
    # 4. Ask, every process about its share
    share = (state.process_index, state.num_processes)
    annotate_shard(dataset, annotator, stores, *share, batch_size=given.batch_size, retry=given.retry)
    state.wait_for_everyone()
    # 5. Put the shares together
    if state.is_main_process:
        finish(given.output, dataset, annotator)
    state.destroy_process_group()


def dataset_of(given: argparse.Namespace) -> Any:
    """The utterances to ask about; a corpus is read once and found in the cache then."""
    import datasets

    import dime_hf
    from dime_hf.corpora import toy

    made = given.output / "corpus"
    if given.corpus == "toy" and not made.exists():
        toy.write(made, utterances=200)
    if Path(given.corpus).is_dir():
        dataset = datasets.load_from_disk(given.corpus)
    else:
        corpus, root = ("iemocap", made) if given.corpus == "toy" else (given.corpus, given.data_dir)
        dataset = dime_hf.load_dataset(corpus, data_dir=root, split=given.split)
    return dataset.select(range(min(given.limit or len(dataset), len(dataset))))


def annotator_of(given: argparse.Namespace, dataset: Any, device: str) -> Any:
    """The audio LM that was named; for the toy corpus a small one, taught once."""
    from dime_hf.annotate import PROMPTS, AudioLMAnnotator, RemoteAnnotator, small_audio_lm
    from dime_hf.annotate.strategies import Options, Paper, Sample, Verbalised
    from dime_hf.columns import classes
    from dime_hf.corpora import toy
    from dime_hf.errors import OptionError

    if not given.annotator and given.corpus != "toy":
        raise OptionError("--annotator: name an audio LM, such as Qwen/Qwen2-Audio-7B-Instruct")
    small = given.output / "annotator"
    if not given.annotator and not small.exists():
        small_audio_lm(small, toy.school(utterances=600))
    prompts = tuple(prompt for prompt in PROMPTS if not given.prompts or prompt.name in given.prompts)
    strategies = {"options": Options(given.orders), "sample": Sample(), "verbalised": Verbalised(), "paper": Paper()}
    asked: Any = {"label_set": classes(dataset), "prompts": prompts, "strategy": strategies[given.strategy]}
    if given.base_url:
        upload = tuple(given.allow_upload)
        return RemoteAnnotator(
            given.annotator, base_url=given.base_url, key_from=given.key_from, allow_upload=upload, **asked
        )
    return AudioLMAnnotator(given.annotator or small, device=device, **asked)


def finish(out: Path, dataset: Any, annotator: Any) -> None:
    from dime_hf.annotate import annotation_card, collect

    annotated = collect(dataset, annotator, out / "stores", out / "answers.sqlite")
    annotated.save_to_disk(out / "annotated")
    (out / "card.md").write_text(annotation_card(out / "answers.sqlite"))
    print(f"{len(annotated):,} utterances are in {out / 'annotated'}, with the section of a card in card.md")
