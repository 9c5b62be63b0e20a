"""Scheduled retuning: due times become runs, a run a study, and its winner the champion if it is really better.

ticks.py       due times -> rows, each exactly once: a run that starts, or the reason why none did
runs.py        moves a run on: looks at the data, warms the search, has the winner compared, decides
champions.py   the models in use: their files, promotion, rollback
retention.py   what old runs leave behind goes
webhook.py     tells of it
scheduler.py   the thread that calls these
rows.py        schedules made, found, changed, removed
"""
