"""Hooks for training."""
