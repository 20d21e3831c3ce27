"""The runner, its loops, and what a checkpoint holds."""
