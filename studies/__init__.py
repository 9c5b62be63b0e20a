"""Studies: the words and decisions that the service and its workers share."""
