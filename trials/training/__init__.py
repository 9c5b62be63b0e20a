"""The training engine: model cache, optimizer, checkpoints, gradients and predictions."""
