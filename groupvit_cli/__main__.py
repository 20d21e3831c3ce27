"""``python -m groupvit_cli``."""

from groupvit_cli.app import main

main()
