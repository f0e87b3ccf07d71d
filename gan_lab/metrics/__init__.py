"""Measures of samples; every number with its provenance."""
