"""The card beside an adapter: what was tuned, on which questions, and whom it must not be asked about."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCardData

from dime_hf.annotate.audio_lm import AudioLMAnnotator
from dime_hf.annotate.checkpoints import TUNED_ON
from dime_hf.tuning.config import TuningConfig

MODALITIES = {
    "both": "recording and transcript",
    "audio": "recording alone",
    "text": "transcript alone (silence heard)",
}
USE = """```python
from dime_hf.annotate import AudioLMAnnotator

annotator = AudioLMAnnotator({checkpoint!r}, {classes!r}, adapter="...", modality={modality!r})
```"""
NO_ANNOTATOR = "The classifier is part of the adapter; the model is no annotator."


def adapter_card(annotator: AudioLMAnnotator, config: TuningConfig, tuned_on: int) -> str:
    """Return Markdown, with metadata, about an adapter that was tuned on so many utterances."""
    folder = Path(annotator.checkpoint)
    data = ModelCardData(
        base_model=None if folder.is_dir() else annotator.checkpoint,
        library_name="peft",
        tags=["lora", "speech-emotion", "soft-labels"],
    )
    base = folder.name if folder.is_dir() else annotator.checkpoint
    use = USE.format(checkpoint=base, classes=annotator.label_set, modality=annotator.modality)
    lines = [
        f"---\n{data.to_yaml()}\n---\n",
        f"# LoRA of {base} on soft labels\n",
        f"- head: {config.head}; loss: {config.loss}; it hears and reads: {MODALITIES[annotator.modality]}",
        f"- classes: {', '.join(annotator.label_set)}, shown as {', '.join(annotator.options)}",
        f"- prompts: {', '.join(prompt.name for prompt in annotator.prompts)}, "
        f"{len(annotator.asks)} questions about each utterance",
        f"- LoRA: rank {config.lora_r}, alpha {config.lora_alpha}, dropout {config.lora_dropout}"
        f"{', in the audio encoder, too' if config.tune_encoder else ''}",
        f"- learning rate {config.learning_rate}, seed {config.seed}\n",
        f"It has seen the human labels of {tuned_on:,} utterances, whose ids are in `{TUNED_ON}`: `annotate` "
        "refuses to ask it about them.\n",
        use if config.head == "options" else NO_ANNOTATOR,
    ]
    return "\n".join(lines) + "\n"
