"""What is particular to each task: one file for each, behind one interface."""
