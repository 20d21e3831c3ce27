"""Optimiser wrappers and parameter groups."""
