"""The local page of ``groupvit web``: what it computes, and the page itself.

Modules without Gradio: :mod:`~groupvit_web.uploads` reads pictures, :mod:`~groupvit_web.model`
opens models, :mod:`~groupvit_web.segmentation` segments, :mod:`~groupvit_web.pixels` explains a
pixel, and :mod:`~groupvit_web.take_away` makes the downloads.
"""
