"""Calls tools in forked processes whose disk fails; see ``disks.py``, which starts this.

Reads a job, a JSON object on a line, from the standard input; forks; sets up the faults of
``faulty_disk.c`` in the child, which calls ``main(argv)`` of a tool; writes a result for each job.
"""

import ctypes
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path

import torch
from yapf.yapflib import yapf_api

import groupvit_mmseg  # noqa: F401  (registers everything)

LIBRARY = ctypes.CDLL(None)


def load(path):
    """Import a tool from its file."""
    spec = importlib.util.spec_from_file_location(f'disk_{Path(path).stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(tool, job):
    """Call a tool in this process; return its status."""
    sys.argv = [job['tool'], *job['argv']]
    for number, name in ((1, 'out'), (2, 'err')):
        os.dup2(os.open(job['output'] + '.' + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout, sys.stderr = os.fdopen(1, 'w'), os.fdopen(2, 'w', buffering=1)
    calls, error, after, microseconds = job['fault']
    LIBRARY.fault_arm(
        calls,
        error,
        ctypes.c_long(after),
        ctypes.c_long(microseconds),
        os.fsencode(job['folder']),
    )
    try:
        status = tool.main()  # the command line is that of sys.argv
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status or 0


def main():
    """Answer jobs until the input ends."""
    torch.set_num_threads(1)
    yapf_api.FormatCode = lambda text, **_: (text, True)  # its layout takes most of a run's time
    tools = {}
    print('ready', flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        if job['tool'] not in tools:
            tools[job['tool']] = load(job['tool'])
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = call(tools[job['tool']], job)
                counts = [LIBRARY.fault_count(bit) for bit in range(9)]
                counts.append(LIBRARY.fault_failed())
                os.write(writer, json.dumps(counts).encode())
            finally:
                os._exit(status)
        os.close(writer)
        with os.fdopen(reader) as stream:
            *counts, failed = json.loads(stream.read() or '[0]')
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print(json.dumps(dict(status=status, counts=counts, failed=failed)), flush=True)


if __name__ == '__main__':
    main()
