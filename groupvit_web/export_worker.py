"""Exports a model to ONNX; the page runs it as a process: ``python -m groupvit_web.export_worker``.

It reads a job, JSON, from the standard input: ``source`` and ``config`` of the model, ``classes``
(the fields of a class list), and ``target``, the file to write.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from groupvit_mmseg.command_line import tool_main

WHOLE: dict[str, object] = {'mode': 'whole', 'pamr_steps': 0}
"""dict[str, object]: Options of the exported segmentation."""


def export(job: dict) -> None:
    """Write the ONNX file of a job."""
    from groupvit_mmseg.export import FrozenSegmentor, export_program, metadata_of, to_onnx
    from groupvit_mmseg.inference import GroupViTInferencer
    from groupvit_mmseg.text.class_list import make_class_list

    inferencer = GroupViTInferencer.from_pretrained(job['source'], config=job['config'])
    inferencer.set_options(**WHOLE)
    inferencer.set_classes(make_class_list(**job['classes']))
    metadata = metadata_of(inferencer.segmentor, inferencer.short_side())
    program = export_program(FrozenSegmentor(inferencer.segmentor))
    Path(job['target']).write_bytes(to_onnx(program, metadata))


@tool_main()
def main() -> None:
    """Export the job of the standard input."""
    export(json.load(sys.stdin))


if __name__ == '__main__':
    sys.exit(main())
