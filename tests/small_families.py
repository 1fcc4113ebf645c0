"""Small random audio LMs of every family that is tried, built in place; their answers depend on what they hear."""

import base64
import io
import json
from pathlib import Path

import pytest
import soundfile
import torch
import transformers
from packaging.version import Version
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3EncoderConfig,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    Qwen2AudioProcessor,
    Qwen2Config,
    Qwen3OmniMoeThinkerConfig,
    Qwen3OmniMoeThinkerForConditionalGeneration,
    VoxtralConfig,
    VoxtralForConditionalGeneration,
    VoxtralProcessor,
    WhisperFeatureExtractor,
)
from transformers.utils import is_mistral_common_available

from dime_hf.annotate import PROMPTS, SmallShape, small_audio_lm
from dime_hf.annotate.prompts import option_words
from dime_hf.annotate.small import CHAT_TEMPLATE, _tokenizer

OPTIONS = ("angry", "happy", "neutral", "sad", "surprised")
FAMILIES = ("qwen2_audio", "audioflamingo3", "voxtral", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker")
MELS, WIDTH = 16, 32
ENCODER = {
    "num_mel_bins": MELS,
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
TEXT = {"hidden_size": WIDTH, "intermediate_size": 64, "num_hidden_layers": 2, **HEADS}
MISTRAL_TOKENS = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
)
VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": WIDTH}


def build(family: str, folder: Path, whole_words: bool = True) -> Path:
    """Write a small checkpoint of `family` to `folder`; whole words are options of one token each."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = globals()[f"_{family}"](folder, whole_words)
        loud(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def needed(family: str) -> None:
    """Skip the test where a family cannot be had: transformers 5.0.0 knows no thinkers, and its Flamingo is broken."""
    if family != "qwen2_audio" and Version(transformers.__version__) < Version("5.23"):
        pytest.skip(f"transformers {transformers.__version__}; {family} was tried with 5.23")
    if family == "voxtral" and not is_mistral_common_available():
        pytest.skip("Voxtral needs mistral-common, as new as this transformers wants it")


@torch.no_grad()
def loud(model) -> None:
    """Blow up random weights, so that every token and every sound moves the answers clearly."""
    for name, weight in model.named_parameters():
        if weight.ndim > 1 and "embed_positions" not in name:
            weight.mul_(12 if "self_attn" in name or "audio_tower" in name or "projector" in name else 5)


def _qwen2_audio(folder, whole_words):
    from dime_hf.annotate import checkpoints

    shape = SmallShape(seconds=4, mel_bins=MELS, encoder_width=16, encoder_layers=2, width=WIDTH)
    labels = ("angry", "happy", "neutral", "sad", "surprise")
    assert option_words(labels) == OPTIONS
    small_audio_lm(folder, label_set=labels, shape=shape, whole_words=whole_words)
    lm = checkpoints.load(str(folder))
    return lm.model, lm.processor


def _audioflamingo3(_, whole_words):
    tokenizer = text_tokenizer(whole_words, "<sound>")
    template = CHAT_TEMPLATE.replace("<|audio_bos|><|AUDIO|><|audio_eos|>", "<sound>")
    processor = AudioFlamingo3Processor(extractor(4), tokenizer, chat_template=template)
    encoder = AudioFlamingo3EncoderConfig(**ENCODER, max_source_positions=200)
    text = Qwen2Config(**TEXT, **text_ids(tokenizer))
    config = AudioFlamingo3Config(audio_config=encoder, text_config=text, audio_token_id=processor.audio_token_id)
    return closing(AudioFlamingo3ForConditionalGeneration(config), tokenizer), processor


def _qwen2_5_omni_thinker(_, whole_words):
    tokenizer = text_tokenizer(whole_words)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    config = Qwen2_5OmniThinkerConfig(
        audio_config={**ENCODER, "n_window": 50, "output_dim": WIDTH, "max_source_positions": 200},
        vision_config=VISION,
        text_config={**TEXT, **text_ids(tokenizer), "rope_parameters": rope},
        audio_token_index=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        vision_start_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2_5OmniThinkerForConditionalGeneration(config)
    return closing(model, tokenizer), Qwen2AudioProcessor(extractor(30), tokenizer, chat_template=CHAT_TEMPLATE)


def _qwen3_omni_moe_thinker(_, whole_words):
    tokenizer = text_tokenizer(whole_words)
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    experts = {"moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2}
    config = Qwen3OmniMoeThinkerConfig(
        audio_config={**ENCODER, "output_dim": WIDTH, "downsample_hidden_size": 8, "max_source_positions": 200},
        vision_config={**VISION, "deepstack_visual_indexes": [0]},
        text_config={**TEXT, **experts, **text_ids(tokenizer), "rope_parameters": rope},
        audio_token_id=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        vision_start_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3OmniMoeThinkerForConditionalGeneration(config)
    return closing(model, tokenizer), Qwen2AudioProcessor(extractor(30), tokenizer, chat_template=CHAT_TEMPLATE)


def _voxtral(folder, whole_words):
    tokenizer = mistral_tokenizer(folder, whole_words)
    encoder = {**ENCODER, "encoder_ffn_dim": 4 * 16, "max_source_positions": 1500}
    text = {**TEXT, "vocab_size": tokenizer.vocab_size, "head_dim": 8, "model_type": "llama"}
    config = VoxtralConfig(audio_config=encoder, text_config=text, audio_token_id=24)
    return closing(VoxtralForConditionalGeneration(config), tokenizer), VoxtralProcessor(extractor(30), tokenizer)


def mistral_tokenizer(folder, whole_words):
    """A tokenizer of version 7 with the first words of the one that mistral-common ships, and Voxtral's audio."""
    import mistral_common
    from transformers import MistralCommonBackend

    source = Path(mistral_common.__file__).parent / "data" / "tekken_240911.json"
    shipped = json.loads(source.read_text())
    vocabulary = shipped["vocab"][:700] + (words(shipped["vocab"][:700]) if whole_words else [])
    named = dict(enumerate(MISTRAL_TOKENS.split())) | {24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]"}
    special = [{"rank": n, "token_str": named.get(n, f"<SPECIAL_{n}>"), "is_control": True} for n in range(40)]
    sizes = {"default_vocab_size": len(vocabulary) + 40, "default_num_special_tokens": 40, "version": "v7"}
    mel = {"num_mel_bins": MELS, "hop_length": 160, "window_size": 400}
    heard = {"sampling_rate": 16_000, "frame_rate": 12.5, "audio_encoding_config": mel, "chunk_length_s": 30}
    content = {"config": shipped["config"] | sizes, "vocab": vocabulary, "special_tokens": special, "audio": heard}
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / "tekken.json").write_text(json.dumps(content))
    return MistralCommonBackend(tokenizer_path=str(Path(folder) / "tekken.json"))


def words(vocabulary):
    """Entries by which every option becomes one token: the beginnings of its words, of two letters and more."""
    known = {base64.b64decode(entry["token_bytes"]) for entry in vocabulary}
    beginnings = [option[:n].encode() for option in OPTIONS for n in range(2, len(option) + 1)]
    new = [b for b in dict.fromkeys(beginnings) if b not in known]
    first = len(vocabulary)
    return [
        {"rank": first + n, "token_bytes": base64.b64encode(b).decode(), "token_str": b.decode()}
        for n, b in enumerate(new)
    ]


def text_tokenizer(whole_words, *more) -> PreTrainedTokenizerFast:
    tokenizer = _tokenizer(PROMPTS, OPTIONS if whole_words else (), ())
    tokenizer.add_special_tokens({"additional_special_tokens": list(more)}, replace_extra_special_tokens=False)
    return tokenizer


def text_ids(tokenizer):
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    return {"vocab_size": len(tokenizer), "tie_word_embeddings": False, **ids}


def extractor(seconds):
    return WhisperFeatureExtractor(feature_size=MELS, chunk_length=seconds)


def closing(model, tokenizer):
    model.generation_config.update(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    return model.eval()


def processed(lm, messages, clip):
    """Inputs as the family's own processor makes them."""
    kind = lm.model.config.model_type
    if kind == "voxtral":
        return dict(lm.processor.apply_chat_template([mistral(messages, clip)]))
    text = lm.processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    inputs = dict(lm.processor(text=[text], audio=[clip], sampling_rate=16_000, return_tensors="pt"))
    if kind == "qwen3_omni_moe_thinker":  # whose own processor counts otherwise
        from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import _get_feat_extract_output_lengths

        count = int(_get_feat_extract_output_lengths(inputs["feature_attention_mask"].sum()))
        ids = lm.processor.tokenizer(text.replace("<|AUDIO|>", "<|AUDIO|>" * count), return_tensors="pt")
        inputs |= {name: ids[name] for name in ("input_ids", "attention_mask")}
    return {name: tensor for name, tensor in inputs.items() if torch.is_tensor(tensor)}


def mistral(messages, clip):
    """The conversation as Voxtral takes it: sound in base64, no system turn."""
    buffer = io.BytesIO()
    soundfile.write(buffer, clip, 16_000, format="WAV", subtype="FLOAT")
    sound, words = messages[1]["content"]
    sound = {**sound, "base64": base64.b64encode(buffer.getvalue()).decode()}
    return [{"role": "user", "content": [sound, {**words, "text": f"{messages[0]['content']}\n{words['text']}"}]}]
