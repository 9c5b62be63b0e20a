"""Data sets: found, read, checked, split and batched."""
