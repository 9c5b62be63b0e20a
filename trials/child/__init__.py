"""The child process, which imports torch and does assignments; and its messages to the worker."""
