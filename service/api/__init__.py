"""The REST interface: one file for each noun, and what the routes share."""
