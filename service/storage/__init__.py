"""The database and the file store: tables, migrations, and every statement that changes a lease."""
