"""The definition of every op: obvious, slow, written first; imported by tests and benchmarks only."""
