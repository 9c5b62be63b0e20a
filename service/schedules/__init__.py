"""Scheduled retuning: due times become runs; the winner of a run becomes the champion if it is better.

definitions.py  create, find, change and remove schedules
due_times.py    due times -> rows, each exactly once: a run that starts, or the reason why none did
runs.py         finds the runs that can advance, and executes their next steps
steps.py        the steps of a run: warm the search, skip, fail, have the winner compared, promote or keep
run_rows.py     the turn of a run, and the rows that are read under it
comparisons.py  the comparison of a winner with the champion
champions.py    the models in use: their files, promotion, rollback
retention.py    removes studies, models and notifications of old runs
webhook.py      notifications
views.py        schedules, runs and champions as REST answers them
plots.py        the champion's score over time
scheduler.py    calls these, for the server's threads
"""
