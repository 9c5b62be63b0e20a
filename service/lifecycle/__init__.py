"""The life of a study: its rows, its transitions, its budget, its winner."""
