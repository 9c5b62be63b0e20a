"""The process people talk to: REST, authentication, database, leases, schedules and the command line."""
