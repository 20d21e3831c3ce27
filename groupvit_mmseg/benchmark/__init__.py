"""Benchmark sets and protocols, their runs, tables and figures; checks of golden values."""
