"""Runner, loop, hooks and optimiser construction: only what mmengine lacks."""
