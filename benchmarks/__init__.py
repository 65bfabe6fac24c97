"""Benchmarks of fastseg against the tools a person would use today; run from a checkout, one program a question."""
