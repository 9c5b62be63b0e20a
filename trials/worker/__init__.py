"""The worker process: claims assignments and relays messages. Never imports torch."""
