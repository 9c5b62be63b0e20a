"""The frozen-prefix cache and the shortcuts above it."""
