"""The local page of ``groupvit web``."""
