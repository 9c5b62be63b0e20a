"""The tasks: one file for each, behind the interface of `base.TaskCode`; `registry` finds them by name."""
