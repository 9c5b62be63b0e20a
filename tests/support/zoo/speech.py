"""Tiny speech recognizers, with a vocabulary of sounds and with a decoder."""

from typing import Any

import transformers as hf

from luthier.studies.results import Batching
from tests.support.zoo.inputs import VOCABULARY, Model, config, fixed, heard, models, recordings, waves
from tests.support.zoo.text import TWO_SIDED, H

SPEECH = H | {
    "vocab_size": 12, "conv_dim": [16, 16], "conv_kernel": [10, 4], "conv_stride": [8, 4], "pad_token_id": 0,
    "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2,
}  # fmt: skip
NORMED: dict[str, Any] = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
"""Of the models whose sounds may be padded."""
WHISPER = TWO_SIDED | {
    "num_mel_bins": 8, "max_source_positions": 12, "max_target_positions": 16, "suppress_tokens": [],
    "begin_suppress_tokens": [],
}  # fmt: skip


CTC = {
    "Wav2Vec2": config("Wav2Vec2", SPEECH),
    "HuBERT": config("Hubert", SPEECH),
    "WavLM": config("WavLM", SPEECH, num_buckets=16, max_bucket_distance=32),
    "SEW": config("SEW", SPEECH, squeeze_factor=2),
    "SEW-D": config("SEWD", SPEECH, squeeze_factor=2, position_buckets=8),
    "UniSpeech": config("UniSpeech", SPEECH, num_ctc_classes=12),
    "UniSpeech-SAT": config("UniSpeechSat", SPEECH, num_ctc_classes=12),
    "Data2Vec": config("Data2VecAudio", SPEECH | {"conv_pos_kernel_size": 3}),
    "Wav2Vec2-Conformer": config(
        "Wav2Vec2Conformer", SPEECH, position_embeddings_type="relative", max_source_positions=64
    ),
}
SPEECH_MODELS: dict[str, dict[str, Model]] = {
    "audio-classification": models(hf.AutoModelForAudioClassification, waves, CTC)
    | models(
        hf.AutoModelForAudioClassification,
        recordings,
        {
            "HuBERT, unequal lengths": config("Hubert", SPEECH, **NORMED),
            "WavLM, unequal lengths": config("WavLM", SPEECH, num_buckets=16, max_bucket_distance=32, **NORMED),
        },
    )
    | models(
        hf.AutoModelForAudioClassification,
        lambda: fixed("input_features", 8, 24),
        {"Whisper": config("Whisper", WHISPER)},
    )
    | models(
        hf.AutoModelForAudioClassification,
        lambda: fixed("input_values", 24, 16),
        {"AST": config("AST", H, num_mel_bins=16, max_length=24)},
    ),
    "automatic-speech-recognition": models(hf.AutoModelForCTC, waves, CTC)
    | models(
        hf.AutoModelForCTC,
        lambda: recordings(masked=False).batched(Batching.EQUAL),
        {f"{name}, unequal lengths": CTC[name] for name in ("Wav2Vec2", "SEW")},
    )
    | models(
        hf.AutoModelForCTC,
        lambda: fixed("input_features", 24, 16),
        {"Wav2Vec2-BERT": config("Wav2Vec2Bert", SPEECH, feature_projection_input_dim=16)},
    )
    | {
        "Whisper": Model(
            hf.AutoModelForSpeechSeq2Seq,
            config("Whisper", WHISPER),
            lambda: heard("input_features", 8, 24),
            answers="decoder_input_ids",
        ),
        "Speech2Text": Model(
            hf.AutoModelForSpeechSeq2Seq,
            config(
                "Speech2Text",
                TWO_SIDED,
                input_feat_per_channel=8,
                num_conv_layers=2,
                conv_channels=16,
                max_source_positions=64,
                max_target_positions=32,
            ),
            lambda: heard("input_features", 24, 8),
            answers="decoder_input_ids",
        ),
        "SpeechT5": Model(
            hf.AutoModelForSpeechSeq2Seq,
            config(
                "SpeechT5",
                hidden_size=32,
                encoder_layers=3,
                decoder_layers=3,
                encoder_attention_heads=2,
                decoder_attention_heads=2,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                vocab_size=VOCABULARY,
                conv_dim=[16, 16],
                conv_kernel=[10, 4],
                conv_stride=[8, 4],
                num_feat_extract_layers=2,
                num_conv_pos_embeddings=16,
                num_conv_pos_embedding_groups=2,
                max_text_positions=64,
            ),
            lambda: heard("input_values", 640),
            answers="decoder_input_ids",
        ),
        "Moonshine": Model(
            hf.AutoModelForSpeechSeq2Seq,
            config(
                "Moonshine",
                vocab_size=VOCABULARY,
                hidden_size=32,
                intermediate_size=64,
                encoder_num_hidden_layers=3,
                decoder_num_hidden_layers=3,
                encoder_num_attention_heads=2,
                decoder_num_attention_heads=2,
                encoder_num_key_value_heads=2,
                decoder_num_key_value_heads=2,
                pad_token_id=0,
            ),
            lambda: heard("input_values", 1280),
            answers="decoder_input_ids",
        ),
    },
}
