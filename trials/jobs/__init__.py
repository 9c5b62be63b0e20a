"""The jobs that an assignment can ask for: inspect, train, evaluate and compare, each in a file of its own."""
