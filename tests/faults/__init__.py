"""Faults made on purpose while studies run, and what must be true afterwards: `python -m tests.faults --help`.

__main__.py    the command: draws faults by a seed, runs rounds of them, prints the table
rounds.py      a round: one service (or two), one database, some workers, some faults, then every invariant
arena.py       the parts of a round, which faults disturb and then put right
kinds/         the faults, a file for each thing that can break
proxy.py       between workers and service: drops, delays, doubles and cuts messages
points.py      the places between a commit and what follows it, where a service is killed
databases.py, postgres.py, wires.py   SQLite and Postgres, which can be copied, restored, stopped and cut off
journal.py, scripted.py, parent.py, child.py   workers that write down what they did
evidence.py, invariants.py, holding.py   what is read afterwards, and what must be true of it
"""
