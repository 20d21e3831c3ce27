"""A launched process and its launcher: the sentence of an error, and the end of the launcher.

``torch.distributed.run`` names a file to each process that it starts, reads the errors written
there, and reports the first. ``tools/launch.py`` prints its sentence alone, and last.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

ERROR_FILE = 'TORCHELASTIC_ERROR_FILE'
"""str: Variable in which ``torch.distributed.run`` names the file."""
LAUNCHED = 'GROUPVIT_LAUNCHED'
"""str: Variable that ``tools/launch.py`` sets to its process id: it prints the sentence itself."""
_PR_SET_PDEATHSIG = 1  # of Linux's prctl


def record_sentence(sentence: str) -> bool:
    """Write the sentence of an error for the launcher.

    Returns:
        bool: Whether the launcher prints it, so that the process has to be silent.
    """
    path = os.environ.get(ERROR_FILE)
    if path is None:
        return False
    try:
        # The layout of torch.distributed.elastic's own records.
        record = {'message': sentence, 'extraInfo': {'timestamp': str(int(time.time()))}}
        Path(path).write_text(json.dumps({'message': record}), encoding='utf-8')
    except OSError:
        return False
    return LAUNCHED in os.environ


def end_with_launcher() -> None:
    """Have the system kill this process when ``tools/launch.py``, its parent, has died.

    A process that outlives a launcher killed with -9 would train on beside the one that resumes.
    Without that launcher, and on other systems than Linux, nothing happens.
    """
    launcher = os.environ.get(LAUNCHED)
    if launcher is None or not sys.platform.startswith('linux'):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if not _is_running(int(launcher)):  # it died before
        os.kill(os.getpid(), signal.SIGKILL)


def _is_running(pid: int) -> bool:
    """Return whether a process runs; one that has died may be listed until its parent asks."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] not in 'ZX'
    except OSError:
        return False
