"""The life of a study: its states, its budget, its winner."""
