"""A worker: it claims assignments, has its child process fine-tune models, and reports to the service."""
