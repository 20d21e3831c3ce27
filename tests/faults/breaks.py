"""Breaks of the promises in docs/reliability.md: what is taken out of the code, and who notices.

``break_promises.py`` makes each in a copy of the project and runs its tests, which must fail.
"""

from typing import NamedTuple


class Break(NamedTuple):
    """A promise without the code that keeps it.

    Attributes:
        promise (str): The promise, in a few words.
        file (str): File of the project.
        old (str): Text that occurs in it once.
        new (str): What replaces it.
        tests (tuple[str, ...]): Arguments of pytest: files or tests, and ``-k`` expressions.
    """

    promise: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_DATA, _CHECKPOINTS = 'groupvit_mmseg/datasets', 'groupvit_mmseg/checkpoints'
_ENGINE, _EVALUATION = 'groupvit_mmseg/engine', 'groupvit_mmseg/benchmark'
_BOMBS = 'tests/faults/test_bombs.py'
FILES = (
    Break(
        'a compressed tar takes little memory',
        f'{_DATA}/tar_stream.py',
        'self._decompressor.decompress(packed, len(view))',
        'self._decompressor.decompress(packed)[: len(view)]',
        (_BOMBS, '-k', 'shard', '-m', ''),
    ),
    Break(
        'names and records of a tar have 1 MiB at most',
        f'{_DATA}/tar_stream.py',
        'header.type in (*_LENGTHS, *_NAMES) and header.size > MAX_HEADER_BYTES',
        'False',
        (_BOMBS, '-k', 'shard', '-m', ''),
    ),
    Break(
        'a tar does not go backwards or on without end',
        f'{_DATA}/tar_stream.py',
        'if self._reads_at_end > _READS_AT_END:',
        'if False:',
        (_BOMBS, '-k', 'shard'),
    ),
    Break(
        'samples of a shard have 256 MiB at most',
        f'{_DATA}/shard_members.py',
        'elif self.num_bytes + len(content) > MAX_SAMPLE_BYTES:',
        'elif False:',
        ('tests/datasets/test_shard_members.py',),
    ),
    Break(
        'an image that claims too many pixels is not decoded',
        f'{_DATA}/image_decoding.py',
        'if width * height > max_pixels:',
        'if False:',
        ('tests/datasets/test_image_memory.py', 'tests/datasets/test_bad_samples.py'),
    ),
    Break(
        'instances with huge images are refused',
        f'{_DATA}/coco_instances.py',
        'if max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:',
        'if False:',
        (_BOMBS, '-k', 'instances'),
    ),
    Break(
        'compressed run lengths are those of the mask',
        f'{_DATA}/coco_masks.py',
        'if min(counts, default=0) < 0 or sum(counts) != height * width:',
        'if False:',
        (_BOMBS, '-k', 'instances'),
    ),
    Break(
        'the metadata of a Parquet file claims no size',
        f'{_DATA}/parquet_tables.py',
        '            thrift_string_size_limit=MAX_METADATA_STRING,\n'
        '            thrift_container_size_limit=MAX_METADATA_ENTRIES,\n',
        '',
        (_BOMBS, 'tests/datasets/test_parquet_tables.py'),
    ),
    Break(
        'nothing in a checkpoint is run',
        f'{_CHECKPOINTS}/restricted_unpickler.py',
        "        self.skipped.add(f'{module}.{name}')\n",
        '        return super().find_class(module, name)\n',
        ('tests/checkpoints', _BOMBS),
    ),
    Break(
        'a pickle cannot reserve memory',
        f'{_CHECKPOINTS}/restricted_unpickler.py',
        'if opcode.name in REFUSED or runs_ahead:',
        'if False:',
        ('tests/checkpoints', _BOMBS),
    ),
    Break(
        'a pickle cannot read more than the file has',
        f'{_CHECKPOINTS}/restricted_unpickler.py',
        'if count > self.size - self.stream.tell():',
        'if False:',
        ('tests/checkpoints', _BOMBS),
    ),
    Break(
        'a zip archive of weights does not unpack to more than the file',
        f'{_CHECKPOINTS}/torch_archive.py',
        'if unpacked > size:',
        'if False:',
        ('tests/checkpoints', _BOMBS),
    ),
    Break(
        'a tensor does not reach beyond its numbers or repeat them',
        f'{_CHECKPOINTS}/restricted_unpickler.py',
        'if count and (last >= len(numbers) or count > len(numbers)):',
        'if False:',
        ('tests/checkpoints', _BOMBS),
    ),
    Break(
        'settings have few brackets in brackets',
        'groupvit_mmseg/key_values.py',
        'if _depth(text) > _MAX_DEPTH:',
        'if False:',
        ('tests/test_key_values.py', _BOMBS),
    ),
    Break(
        'results in a journal are checked',
        f'{_EVALUATION}/journal.py',
        'if not _is_result(content):',
        'if False:',
        ('tests/faults/test_kept_inputs.py', 'tests/faults/test_hostile.py', '-k', 'journal'),
    ),
    Break(
        'files of journals, sizes and instances with deep JSON are refused',
        f'{_EVALUATION}/journal.py',
        'except (ValueError, RecursionError):',
        'except ValueError:',
        ('tests/faults/test_kept_inputs.py', _BOMBS, '-k', 'journal'),
    ),
)
TRAINING = (
    Break(
        'files are replaced whole',
        'groupvit_mmseg/atomic_files.py',
        'handle, name = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path.name))',
        'handle, name = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), str(path)',
        ('tests/engine/test_resume.py', 'tests/faults/test_disk.py'),
    ),
    Break(
        'old checkpoints are removed after the new ones are complete',
        f'{_ENGINE}/hooks/checkpoint_hook.py',
        'self._obsolete.append(str(filepath))',
        'Path(filepath).unlink(missing_ok=True)',
        ('tests/engine/test_resume_any_moment.py', '-m', 'not gpu'),
    ),
    Break(
        'a resumed run knows the averages of its weights',
        f'{_ENGINE}/runner/checkpoint_content.py',
        "'message_hub': to_plain(runner.message_hub.state_dict()),",
        "'message_hub': {},",
        ('tests/engine/test_resume.py',),
    ),
    Break(
        'a resumed run has the moments of the optimiser',
        f'{_ENGINE}/runner/checkpoint_content.py',
        "checkpoint['optimizer'] = to_plain(optimizer)",
        "checkpoint['optimizer'] = {**to_plain(optimizer), 'state': {}}",
        ('tests/faults/test_training_kills.py', 'tests/engine/test_resume.py', '-m', ''),
    ),
    Break(
        'SIGTERM and SIGUSR1 end a run with a checkpoint',
        f'{_ENGINE}/preemption.py',
        '        if number and done < runner.max_iters:\n',
        '        if False:\n',
        ('tests/engine/test_preemption.py',),
    ),
    Break(
        'ranks agree on the step at which a signal ends them',
        f'{_ENGINE}/preemption.py',
        'distributed.all_reduce(largest, distributed.ReduceOp.MAX, self._group)',
        'pass',
        ('tests/engine/test_preemption.py', '-m', '', '-k', 'one and rank'),
    ),
    Break(
        'loader workers outlive a signal to their group',
        f'{_ENGINE}/preemption.py',
        'if signal.getsignal(signal.SIGTERM) is _note:',
        'if False:',
        ('tests/engine/test_preemption.py', '-m', ''),
    ),
    Break(
        'a full disk is one sentence',
        'groupvit_mmseg/atomic_files.py',
        '        fault = _disk_error(error)\n',
        '        fault = None\n',
        ('tests/faults/test_disk.py',),
    ),
    Break(
        'a torn checkpoint is passed over',
        f'{_ENGINE}/runner/find_checkpoint.py',
        'except (OSError, ValueError, pickle.UnpicklingError) as error:',
        'except KeyError as error:',
        ('tests/engine/test_resume.py', 'tests/engine/test_last_checkpoint.py'),
    ),
    Break(
        'a clock that was set back hides no checkpoint',
        f'{_ENGINE}/runner/find_checkpoint.py',
        'key=lambda p: (p not in abandoned, progress[p].steps)',
        'key=lambda p: (p not in abandoned, progress[p].time)',
        ('tests/engine/test_last_checkpoint.py',),
    ),
    Break(
        'a damaged last_checkpoint is ignored',
        f'{_ENGINE}/runner/find_checkpoint.py',
        "return Path(text if is_path else '')",
        'return Path(text)',
        ('tests/engine/test_last_checkpoint.py',),
    ),
    Break(
        'memory that runs out in a step is one sentence',
        f'{_ENGINE}/training_faults.py',
        'if runner is not None and is_out_of_memory(error):',
        'if False:',
        ('tests/engine/test_training_faults.py',),
    ),
    Break(
        'a killed loader worker is one sentence',
        f'{_ENGINE}/training_faults.py',
        'if worker := _WORKER.search(text):',
        'if worker := None:',
        ('tests/engine/test_training_faults.py',),
    ),
    Break(
        'a shard that hangs is one sentence',
        f'{_ENGINE}/training_faults.py',
        'if silent := _TIMED_OUT.search(text):',
        'if silent := None:',
        ('tests/engine/test_training_faults.py',),
    ),
    Break(
        'the other ranks end with a sentence where one was killed',
        f'{_ENGINE}/training_faults.py',
        'return is_distributed() and isinstance(error, RuntimeError)',
        'return False and isinstance(error, RuntimeError)',
        ('tests/engine/test_training_faults.py', '-m', ''),
    ),
    Break(
        'a shard that shrinks or disappears gives as many samples as before',
        f'{_DATA}/shard_stream.py',
        "damage = f'the shard is damaged ({_first_words(error)})'",
        'raise error',
        ('tests/datasets/test_changing_shards.py',),
    ),
    Break(
        'bad samples are limited',
        f'{_DATA}/slot_reader.py',
        'if self.num_bad > self.max_share * self.epoch_length:',
        'if False:',
        ('tests/datasets/test_bad_samples.py',),
    ),
    Break(
        'losses that are not finite end a run',
        f'{_ENGINE}/optimizers/guarded_optim_wrapper.py',
        'if self._consecutive_skips >= self.max_skipped:',
        'if False:',
        ('tests/engine/test_non_finite_watch.py',),
    ),
    Break(
        'pixels that a transform made NaN are a bad sample',
        f'{_DATA}/image_text_transforms.py',
        '    if image.dtype == np.uint8:\n',
        '    if True:\n',
        ('tests/datasets/test_changing_shards.py',),
    ),
    Break(
        'folders of killed parts are removed',
        f'{_DATA}/staging.py',
        'fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n                shutil.rmtree',
        'fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n                str',
        ('tests/datasets/test_staging.py',),
    ),
    Break(
        'a folder in use is not removed',
        f'{_DATA}/staging.py',
        '                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)\n',
        '',
        ('tests/datasets/test_staging.py',),
    ),
    Break(
        'a sample gets the same random numbers whatever was read before it',
        f'{_DATA}/slot_reader.py',
        '        seed_generators(position.seed, position.epoch, position.rank, position.offset)\n',
        '',
        ('tests/engine/test_resume.py',),
    ),
)
EVALUATION = (
    Break(
        'a torn line of a journal is cut off',
        f'{_EVALUATION}/journal.py',
        "*complete, rest = path.read_bytes().split(b'\\n')",
        "complete, rest = path.read_bytes().split(b'\\n'), b''",
        ('tests/evaluation/test_journal.py', 'tests/faults/test_evaluation_kills.py', '-m', ''),
    ),
    Break(
        'a journal has one writer',
        f'{_EVALUATION}/journal.py',
        '            _lock(self._file, path)\n',
        '',
        ('tests/evaluation/test_journal.py',),
    ),
    Break(
        'lines of a journal are there as soon as an image is done',
        f'{_EVALUATION}/journal.py',
        "path.open('ab', buffering=0)",
        "path.open('ab', buffering=10**7)",
        ('tests/evaluation/test_journal.py', 'tests/faults/test_evaluation_kills.py'),
    ),
    Break(
        'NaN scores never become labels',
        'groupvit_mmseg/models/finite_scores.py',
        'if bool(torch.isfinite(values).all()):',
        'if True:',
        ('tests/models/test_finite_scores.py',),
    ),
    Break(
        'windows are halved where memory runs out',
        'groupvit_mmseg/out_of_memory.py',
        'return isinstance(error, RuntimeError) and _MESSAGES.search(str(error)) is not None',
        'return False',
        ('tests/models/test_out_of_memory.py',),
    ),
    Break(
        'every window is computed after a halving',
        'groupvit_mmseg/out_of_memory.py',
        '            start += size\n',
        '            start += 2 * size\n',
        ('tests/models/test_out_of_memory.py',),
    ),
)
DETERMINISM = (
    Break(
        'streams give any number of workers the same samples',
        f'{_DATA}/image_text.py',
        'streams = self.count_streams(num_workers)',
        'streams = num_workers',
        ('tests/datasets/test_image_text.py',),
    ),
    Break(
        'the order of samples is that of the seed',
        f'{_DATA}/epoch_plan.py',
        'return np.random.default_rng(entropy)',
        'return np.random.default_rng()',
        ('tests/datasets/test_image_text.py',),
    ),
)
PAGE = (
    Break(
        'files of the page are limited',
        'groupvit_web/uploads.py',
        '    if count > limits.file_bytes:\n',
        '    if False:\n',
        ('tests/web/test_uploads.py',),
    ),
    Break(
        'pictures of the page are limited before they are decoded',
        'groupvit_web/uploads.py',
        '    if size is not None and size[0] * size[1] > limits.pixels:\n',
        '    if False:\n',
        ('tests/web/test_uploads.py',),
    ),
    Break(
        'names are text on the page, and no markup',
        'groupvit_web/fragments.py',
        '{_numeric(0 in numeric)}>{escape(name)}</th>',
        '{_numeric(0 in numeric)}>{name}</th>',
        ('tests/web', '--ignore=tests/web/browser'),
    ),
    Break(
        'a visitor who leaves frees the model',
        'groupvit_web/deadline.py',
        "raise RequestCancelled('The request was cancelled.')",
        'pass',
        ('tests/web/test_segmentation.py',),
    ),
    Break(
        'a request has a time limit',
        'groupvit_web/deadline.py',
        "raise PageError(f'This took longer than {self.seconds:g} seconds: {self.advice}.')",
        'pass',
        ('tests/web/test_segmentation.py',),
    ),
)
SUPPLY = (
    Break(
        'nothing is asked of the network at import',
        'groupvit_mmseg/registry.py',
        "SCOPE = 'groupvit_mmseg'\n",
        "SCOPE = 'groupvit_mmseg'\n"
        'import contextlib, urllib.request\n'
        'with contextlib.suppress(OSError):\n'
        "    urllib.request.urlopen('http://version.example.org')\n",
        ('tests/test_supply_chain.py', '-m', ''),
    ),
    Break(
        'Gradio and Hugging Face report nothing',
        'groupvit_web/offline.py',
        'os.environ.update(SWITCHES)',
        'pass',
        ('tests/test_supply_chain.py', 'tests/web/test_page_parts.py', '-m', ''),
    ),
    Break(
        'licences that do not fit are noticed',
        'tools/licences.py',
        'if STRONG.search(text):',
        'if False:',
        ('tests/test_supply_chain.py',),
    ),
)
BREAKS = (*FILES, *TRAINING, *EVALUATION, *DETERMINISM, *PAGE, *SUPPLY)
