"""Parts of the core that mutants.py changes, and the tests of each."""

from typing import NamedTuple


class Part(NamedTuple):
    """A part of the core: files of the package, and the test files that are about them.

    Attributes:
        sources (tuple[str, ...]): Files of the package.
        tests (tuple[str, ...]): Test files that every mutant is run with.
        slow (tuple[str, ...]): Test files that survivors are run with, if ``--slow`` is given.
    """

    sources: tuple[str, ...]
    tests: tuple[str, ...]
    slow: tuple[str, ...] = ()


PARTS = {
    'losses': Part(
        (
            'models/losses.py',
            'models/chunked_cross_entropy.py',
            'models/similarity.py',
            'models/prompt_ids.py',
        ),
        (
            'models/test_losses.py',
            'models/test_losses_patches.py',
            'models/test_chunked_cross_entropy.py',
        ),
        ('models/test_ranks.py', 'models/test_pretrainer.py'),
    ),
    'grouping': Part(
        ('models/assignment.py', 'models/grouping.py'),
        ('models/test_assignment.py', 'models/test_grouping.py', 'models/test_groupvit.py'),
        ('models/test_backbone_options.py', 'models/test_parity_hugging_face.py'),
    ),
    'head': Part(
        ('models/class_scores.py', 'models/word_affinity.py', 'models/zero_shot_head.py'),
        ('models/test_class_scores.py', 'models/test_zero_shot_head.py'),
        ('models/test_finite_scores.py', 'models/test_open_vocabulary.py'),
    ),
    'windows': Part(
        ('models/windows.py', 'models/encoded_windows.py'),
        ('models/test_windows.py', 'models/test_window_views.py', 'models/test_out_of_memory.py'),
    ),
    'order': Part(
        (
            'datasets/epoch_plan.py',
            'datasets/epoch_remainder.py',
            'datasets/image_text_sampler.py',
            'datasets/slot_reader.py',
        ),
        (
            'datasets/test_epoch_plan.py',
            'datasets/test_slot_reader.py',
            'datasets/test_image_text.py',
            'datasets/test_sample_guard.py',
        ),
        ('datasets/test_bad_samples.py',),
    ),
    'keys': Part(
        (
            'checkpoints/key_map.py',
            'checkpoints/key_formats.py',
            'checkpoints/shape_inference.py',
        ),
        (
            'checkpoints/test_key_map.py',
            'checkpoints/test_structure.py',
            'checkpoints/test_reference.py',
        ),
        ('checkpoints/test_converters.py', 'checkpoints/test_any_source.py'),
    ),
    'convert': Part(
        ('conversion/convert.py',),
        ('checkpoints/test_convert.py',),
        ('checkpoints/test_converters.py', 'checkpoints/test_any_source.py'),
    ),
    'resume': Part(
        ('engine/runner/resume_check.py', 'engine/runner/find_checkpoint.py'),
        ('engine/test_resume_check.py', 'engine/test_last_checkpoint.py'),
        ('engine/test_mmengine_checkpoints.py',),
    ),
    'loop': Part(
        ('engine/runner/epoch_progress.py', 'engine/runner/train_loop.py'),
        ('engine/test_epoch_progress.py', 'engine/test_train_loop.py'),
        ('engine/test_mmengine_checkpoints.py', 'engine/test_resume.py'),
    ),
}
