"""Small random speech encoders of every family that is tried, built in place, with their feature extractors."""

import torch
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    HubertConfig,
    HubertForSequenceClassification,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2BertConfig,
    Wav2Vec2BertForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
NO_DROPOUT = {
    "hidden_dropout": 0.0,
    "activation_dropout": 0.0,
    "attention_dropout": 0.0,
    "final_dropout": 0.0,
    "layerdrop": 0.0,
    "apply_spec_augment": False,
}
FAMILIES = ("wav2vec2", "hubert", "wavlm", "whisper", "ast", "wav2vec2-bert")
MELS = 16


def build(family, classes=7, norm="layer"):
    """Return a model of a family with a head of so many classes, the same at every call, and its extractor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, extractor = globals()[f"_{family.replace('-', '_')}"](num_labels=classes, norm=norm)
        with torch.no_grad():  # blown up, so that every sound moves the answers
            for weight in model.parameters():
                if weight.ndim > 1:
                    weight.mul_(4)
    return model, extractor


def _convolutions(norm):
    return {
        **SIZES,
        **NO_DROPOUT,
        "conv_dim": (8, 8),
        "conv_kernel": (20, 8),
        "conv_stride": (20, 8),
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
        "classifier_proj_size": 8,
        "feat_extract_norm": norm,
    }


def _raw(norm):
    """As the checkpoints ship: with "group" there is no mask."""
    return Wav2Vec2FeatureExtractor(do_normalize=norm == "layer", return_attention_mask=norm == "layer")


def _wav2vec2(num_labels, norm):
    return Wav2Vec2ForSequenceClassification(Wav2Vec2Config(**_convolutions(norm), num_labels=num_labels)), _raw(norm)


def _hubert(num_labels, norm):
    return HubertForSequenceClassification(HubertConfig(**_convolutions(norm), num_labels=num_labels)), _raw(norm)


def _wavlm(num_labels, norm):
    return WavLMForSequenceClassification(WavLMConfig(**_convolutions(norm), num_labels=num_labels)), _raw(norm)


def _wav2vec2_bert(num_labels, **_):
    extractor = SeamlessM4TFeatureExtractor(feature_size=MELS, num_mel_bins=MELS)
    config = Wav2Vec2BertConfig(
        **SIZES | NO_DROPOUT,
        feature_projection_input_dim=2 * MELS,
        conv_depthwise_kernel_size=3,
        conformer_conv_dropout=0.0,
        feat_proj_dropout=0.0,
        classifier_proj_size=8,
        num_labels=num_labels,
    )
    return Wav2Vec2BertForSequenceClassification(config), extractor


def _whisper(num_labels, **_):
    config = WhisperConfig(
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_mel_bins=MELS,
        max_source_positions=100,
        vocab_size=8,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        classifier_proj_size=8,
        num_labels=num_labels,
    )
    return WhisperForAudioClassification(config), WhisperFeatureExtractor(feature_size=MELS, chunk_length=2)


def _ast(num_labels, **_):
    config = ASTConfig(**SIZES, num_mel_bins=MELS, max_length=64, num_labels=num_labels)
    return ASTForAudioClassification(config), ASTFeatureExtractor(num_mel_bins=MELS, max_length=64)
