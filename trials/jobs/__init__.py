"""The jobs that an assignment can ask for: inspect, train, evaluate and compare, a file for each."""
