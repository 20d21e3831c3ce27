"""The command ``groupvit``.

A package of its own, because importing ``groupvit_mmseg`` imports PyTorch and OpenMMLab, which take
seconds: ``groupvit --help`` needs neither.
"""
