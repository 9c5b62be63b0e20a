"""Helpers that tests share: services, workers, specs, tiny models and data sets."""
