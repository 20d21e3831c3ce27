"""The runner, its loops and the content of checkpoints."""
