"""Pretrained models: loading, blocks and freeze depth, low-rank adapters, dropout."""
