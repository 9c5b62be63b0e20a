"""The tasks: a file for each, with a subclass of `base.TaskCode` that `registry` finds by name."""
