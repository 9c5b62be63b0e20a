"""The running service: the FastAPI application, the foreground server and the embedded one."""
