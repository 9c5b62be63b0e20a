"""Worker processes of this machine: started, watched, started again."""
