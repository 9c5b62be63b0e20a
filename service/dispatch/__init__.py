"""Work handed out to workers and taken back: claims, reports, GPU memory, searches, expired leases."""
