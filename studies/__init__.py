"""The definitions and decisions of a study: spec, search, promotion. Imports neither the service nor torch."""
