"""The sentence of an error, passed from a launched process to its launcher, which prints it last.

``torch.distributed.run`` names a file to each process that it starts, reads the errors written
there, and reports the first. ``tools/launch.py`` prints its sentence alone.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

ERROR_FILE = 'TORCHELASTIC_ERROR_FILE'
"""str: Variable in which ``torch.distributed.run`` names the file."""
LAUNCHED = 'GROUPVIT_LAUNCHED'
"""str: Variable that ``tools/launch.py`` sets: it prints the sentence itself."""


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
