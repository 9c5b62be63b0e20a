"""Worker processes of this machine: start them, check them, start them again."""
