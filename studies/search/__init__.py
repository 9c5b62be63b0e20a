"""The only home of Optuna: a study's search, its samplers, pruners, storage and figures."""
