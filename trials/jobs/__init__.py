"""What an assignment asks for: inspect, train, evaluate, compare. One file for each."""
