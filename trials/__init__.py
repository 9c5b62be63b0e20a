"""The worker: claims assignments, fine-tunes and reports. No database, no web framework, no Optuna."""
