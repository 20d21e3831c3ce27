"""Environment of a page that tells nobody about its use; to be set before Gradio is imported."""

from __future__ import annotations

import os

SWITCHES = {
    'GRADIO_ANALYTICS_ENABLED': 'False',
    'GRADIO_RUN_HISTORY': 'False',
    'HF_HUB_DISABLE_TELEMETRY': '1',
    'DO_NOT_TRACK': '1',
}
"""dict[str, str]: Environment variables, and their values."""
LOOPBACK = ('127.0.0.1', 'localhost')


def switch_telemetry_off() -> None:
    """Set the environment variables, and let requests to this machine pass by any proxy."""
    os.environ.update(SWITCHES)
    for name in ('NO_PROXY', 'no_proxy'):
        hosts = [host for host in os.environ.get(name, '').split(',') if host]
        missing = [host for host in LOOPBACK if host not in hosts]
        os.environ[name] = ','.join([*hosts, *missing])
