"""Searches of other tools as specs: sweeps, experiments, tuning jobs, and studies of Optuna with their trials."""
