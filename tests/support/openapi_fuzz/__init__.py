"""Schemathesis over a running service: its command in a process of its own, with our hooks and settings."""
