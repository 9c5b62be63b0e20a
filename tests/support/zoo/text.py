"""Tiny text models: question answering, text generation, and text from text."""

from typing import Any

import transformers as hf

from luthier.studies.results import Batching
from tests.support.zoo.inputs import VOCABULARY, Model, config, models, questions, sentences, text_pairs, texts

H: dict[str, Any] = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "num_hidden_layers": 3}
TEXT = H | {"vocab_size": VOCABULARY, "max_position_embeddings": 64, "pad_token_id": 0}
CAUSAL = TEXT | {"bos_token_id": 1, "eos_token_id": 2, "num_key_value_heads": 1}
TWO_SIDED: dict[str, Any] = {
    "d_model": 32, "encoder_layers": 3, "decoder_layers": 3, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": VOCABULARY,
    "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1, "forced_eos_token_id": None,
}  # fmt: skip
T5: dict[str, Any] = {
    "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 3, "num_decoder_layers": 3, "num_heads": 2,
    "vocab_size": VOCABULARY, "pad_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 0,
}  # fmt: skip
ENCODERS = {
    "BERT": config("Bert", TEXT),
    "RoBERTa": config("Roberta", TEXT, max_position_embeddings=66, pad_token_id=0),
    "DistilBERT": config("DistilBert", dim=32, n_heads=2, n_layers=3, hidden_dim=64, vocab_size=VOCABULARY),
    "ELECTRA": config("Electra", TEXT, embedding_size=16),
    "DeBERTa-v2": config("DebertaV2", TEXT, relative_attention=True, pos_att_type=["c2p", "p2c"], position_buckets=8),
    "DeBERTa-v3": config(
        "DebertaV2",
        TEXT,
        relative_attention=True,
        pos_att_type=["c2p", "p2c"],
        position_buckets=8,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        position_biased_input=False,
        type_vocab_size=0,
    ),
    "ModernBERT": config("ModernBert", TEXT, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
    "ALBERT": config("Albert", TEXT, embedding_size=16),
    "MPNet": config("MPNet", TEXT),
    "BigBird": config("BigBird", TEXT, attention_type="original_full"),
}
DECODERS = {
    "GPT-2": config(
        "GPT2",
        pad_token_id=0,
        n_embd=32,
        n_head=2,
        n_layer=3,
        vocab_size=VOCABULARY,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "Llama": config("Llama", CAUSAL),
    "Mistral": config("Mistral", CAUSAL),
    "Qwen2": config("Qwen2", CAUSAL),
    "Qwen3": config("Qwen3", CAUSAL, head_dim=16),
    "Gemma": config("Gemma", CAUSAL, head_dim=16),
    "Gemma 2": config("Gemma2", CAUSAL, head_dim=16),
    "Gemma 3": config(
        "Gemma3Text",
        CAUSAL,
        head_dim=16,
        sliding_window=4,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "Phi": config("Phi", CAUSAL, num_key_value_heads=2),
    "Phi-3": config("Phi3", CAUSAL),
    "GPT-NeoX": config("GPTNeoX", TEXT, bos_token_id=1, eos_token_id=2),
    "OPT": config(
        "OPT",
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        vocab_size=VOCABULARY,
        word_embed_proj_dim=32,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "BLOOM": config(
        "Bloom",
        hidden_size=32,
        n_head=2,
        n_layer=3,
        vocab_size=VOCABULARY,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "Falcon": config(
        "Falcon",
        pad_token_id=0,
        hidden_size=32,
        num_attention_heads=2,
        num_hidden_layers=3,
        vocab_size=VOCABULARY,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "GPT-J": config(
        "GPTJ",
        pad_token_id=0,
        n_embd=32,
        n_head=2,
        n_layer=3,
        vocab_size=VOCABULARY,
        n_positions=64,
        rotary_dim=8,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "SmolLM3": config("SmolLM3", CAUSAL),
    "OLMo 2": config("Olmo2", CAUSAL),
    "Mamba": config(
        "Mamba",
        hidden_size=32,
        num_hidden_layers=3,
        vocab_size=VOCABULARY,
        state_size=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "Mixtral": config("Mixtral", CAUSAL, num_local_experts=2),
}
SEQ2SEQ = {
    "T5": config("T5", T5),
    "T5 v1.1": config("T5", T5, feed_forward_proj="gated-gelu"),
    "mT5": config("MT5", T5),
    "umT5": config("UMT5", T5),
    "LongT5": config("LongT5", T5, local_radius=3, encoder_attention_type="local"),
    "LongT5 global": config(
        "LongT5", T5, local_radius=3, global_block_size=4, encoder_attention_type="transient-global"
    ),
    "Switch": config(
        "SwitchTransformers",
        T5,
        num_experts=2,
        num_sparse_encoder_layers=1,
        num_sparse_decoder_layers=1,
        expert_capacity=16,
    ),
    "BART": config("Bart", TWO_SIDED),
    "mBART": config("MBart", TWO_SIDED),
    "Marian": config("Marian", TWO_SIDED, share_encoder_decoder_embeddings=True, decoder_vocab_size=VOCABULARY),
    "Pegasus": config("Pegasus", TWO_SIDED),
    "Pegasus-X": config("PegasusX", TWO_SIDED, num_global_tokens=2, block_size=4, stagger_local_blocks=False),
    "M2M100": config("M2M100", TWO_SIDED),
    "NLLB-MoE": config("NllbMoe", TWO_SIDED, num_experts=2, encoder_sparse_step=4, decoder_sparse_step=4),
    "BlenderbotSmall": config("BlenderbotSmall", TWO_SIDED),
    "Blenderbot": config("Blenderbot", TWO_SIDED),
    "LED": config("LED", TWO_SIDED, attention_window=4),
    "BigBird-Pegasus": config("BigBirdPegasus", TWO_SIDED, attention_type="original_full"),
    "PLBart": config("PLBart", TWO_SIDED),
    "ProphetNet": config(
        "ProphetNet",
        hidden_size=32,
        num_encoder_layers=3,
        num_decoder_layers=3,
        num_encoder_attention_heads=2,
        num_decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        vocab_size=VOCABULARY,
        max_position_embeddings=64,
    ),
    "T5Gemma": lambda: hf.T5GemmaConfig(
        encoder=dict(CAUSAL, head_dim=16),
        decoder=dict(CAUSAL, head_dim=16, cross_attention_hidden_size=32),
        vocab_size=VOCABULARY,
    ),
}
SPANS: dict[str, Any] = {"outputs": ("start_logits", "end_logits"), "answers": "input_ids"}
CLASSIFIERS = {name: make for name, make in (ENCODERS | DECODERS).items() if name != "Mamba"}
CLASSIFIERS |= {name: SEQ2SEQ[name] for name in ("T5", "BART")}
TEXT_MODELS: dict[str, dict[str, Model]] = {
    "text-classification": models(hf.AutoModelForSequenceClassification, sentences, CLASSIFIERS),
    "token-classification": models(hf.AutoModelForTokenClassification, texts, ENCODERS, answers="input_ids"),
    "question-answering": models(
        hf.AutoModelForQuestionAnswering,
        texts,
        ENCODERS | {"BART": SEQ2SEQ["BART"], "GPT-2": DECODERS["GPT-2"], "T5": SEQ2SEQ["T5"]},
        **SPANS,
    )
    | models(
        hf.AutoModelForQuestionAnswering,
        questions,
        {"Longformer": config("Longformer", TEXT, attention_window=4, max_position_embeddings=80, sep_token_id=2)},
        **SPANS,
    )
    | models(
        hf.AutoModelForQuestionAnswering,
        lambda: questions().batched(Batching.EQUAL),
        {
            "XLNet": config("XLNet", d_model=32, n_head=2, n_layer=3, d_inner=64, vocab_size=VOCABULARY),
            "Funnel": config(
                "Funnel",
                d_model=32,
                n_head=2,
                d_head=16,
                d_inner=64,
                block_sizes=[1, 1, 1],
                num_decoder_layers=1,
                vocab_size=VOCABULARY,
            ),
            "ConvBERT": config("ConvBert", TEXT, embedding_size=32),
        },
        **SPANS,
    ),
    "text-generation": models(hf.AutoModelForCausalLM, texts, DECODERS, answers="input_ids"),
    "text2text-generation": models(hf.AutoModelForSeq2SeqLM, text_pairs, SEQ2SEQ, answers="decoder_input_ids"),
}
