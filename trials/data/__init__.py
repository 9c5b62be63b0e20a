"""Data sets: located, read, checked, split, encoded and batched."""
