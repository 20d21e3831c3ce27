"""Hooks that mmengine lacks."""
