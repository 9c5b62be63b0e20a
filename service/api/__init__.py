"""The routes of the REST interface, a file for each noun, and their shared parts; pages for people, too."""
