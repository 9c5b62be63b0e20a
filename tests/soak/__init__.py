"""The soak: a service under the load of a busy team for an hour, whose memory, files and threads must not grow."""
