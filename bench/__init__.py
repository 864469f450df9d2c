"""Benchmarks of DPL against what an expert would write by hand; never run as tests."""
