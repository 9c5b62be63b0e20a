"""The jobs that an assignment can ask for: inspect, train, evaluate, compare and predict, a file for each."""
