"""The database and the file store: tables, migrations, leases, turns and presence."""
