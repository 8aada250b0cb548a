"""Benchmarks against common alternatives, and searches replayed from recorded trials."""
