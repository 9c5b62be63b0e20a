"""Who may do what: tokens, projects and their limits, and the log of what was done."""
