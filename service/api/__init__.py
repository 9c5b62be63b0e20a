"""The routes of the REST interface and the pages for people, a file for each noun."""
