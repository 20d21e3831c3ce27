"""``groupvit segment`` with a model that takes no time: batches, failures, videos, the record."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from groupvit_cli import segment, segment_model, video
from groupvit_cli.app import app
from groupvit_mmseg.datasets.image_decoding import load_image
from groupvit_mmseg.inference import GroupViTInferencer
from groupvit_mmseg.models.inference_options import PRECISIONS
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_list import make_class_list

TINY = Path(__file__).parents[1] / 'data/configs/tiny_zeroshot.py'


class BrightnessInferencer:
    """Labels bright pixels 'light' and the others 'dark'."""

    precision = 'fp32'

    def __init__(self, memory=10**9):
        self.batches, self.memory = [], memory
        classes = make_class_list(['dark', 'light'])
        head = SimpleNamespace(
            classes=classes, class_names=classes.class_names, with_background=False
        )
        self.segmentor = SimpleNamespace(
            decode_head=head,
            parameters=lambda: iter([torch.zeros(1)]),
            options=SimpleNamespace(precision='fp32'),
        )

    def prepare(self, path):
        return load_image(path)

    def batch(self, images):
        if sum(image.size for image in images) > self.memory:
            raise torch.cuda.OutOfMemoryError('CUDA out of memory.')
        self.batches.append(len(images))
        return [self(image) for image in images]

    def __call__(self, image):
        light = image.mean(axis=-1) > 127
        scores = np.stack([~light, light]).astype(np.float32)
        return InferenceResult(
            light.astype(int), light.astype(int), scores, ('dark', 'light'), image
        )


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Five images, one file that is none, and the folder they lie in."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'photos'
    folder.mkdir()
    for index in range(5):
        pixels = np.zeros((30, 40, 3), np.uint8)
        pixels[:, : 8 * (index + 1)] = 255
        Image.fromarray(pixels).save(folder / f'{index}.png')
    (folder / 'broken.jpg').write_bytes(b'no image')
    return folder


@pytest.fixture
def call(monkeypatch, photos):
    """Runs the command with the fast model; gives exit status and the model."""
    model = BrightnessInferencer()
    monkeypatch.setattr(segment, 'make_inferencer', lambda options: model)

    def call(*args):
        argv = ['segment', '--out', 'out', '--words', 'dark, light', *args]
        return app(argv, standalone_mode=False), model

    return call


def test_a_folder_is_segmented_and_what_cannot_be_read_is_named(call, capsys):
    status, _ = call('photos', '--format', 'png,label,json,coco')
    printed = capsys.readouterr().out
    assert status == 1
    assert '5 images in ' in printed
    assert 'not segmented: photos/broken.jpg cannot be read as an image' in printed
    shares = read('out/shares.json')['images']
    assert [round(image['shares']['light'], 2) for image in shares] == [0.2, 0.4, 0.6, 0.8, 1.0]
    coco = read('out/coco.json')
    assert len(coco['images']) == 5
    labels = np.asarray(Image.open('out/labels/0.png'))
    assert labels[:, :8].all()
    assert not labels[:, 8:].any()


def test_a_second_call_segments_only_what_is_new(call, capsys, photos):
    call('photos/0.png', 'photos/1.png')
    _, model = call('photos/*.png')
    assert sum(model.batches) == 5
    assert '2 were segmented before' in capsys.readouterr().out
    assert len(read('out/shares.json')['images']) == 5


def test_an_image_of_the_same_name_elsewhere_replaces_nothing(call, photos):
    call('photos/0.png')
    before = Path('out/overlay/0.png').read_bytes()
    other = photos.parent / 'other/0.png'
    other.parent.mkdir()
    Image.new('RGB', (40, 30), 'white').save(other)
    with pytest.raises(ValueError, match=r'holds results of .*photos/0\.png as 0, which those of'):
        call(str(other))
    assert Path('out/overlay/0.png').read_bytes() == before


def test_images_share_batches(call):
    _, model = call('photos/*.png', '--batch-size', '2')
    assert model.batches == [2, 2, 1]


def test_a_batch_that_does_not_fit_is_halved(call, monkeypatch):
    monkeypatch.setattr(segment, 'first_batch_size', lambda *_: 8)
    _, model = call('photos/0.png')
    model.memory = 2 * 30 * 40 * 3
    _, model = call('photos/*.png')
    assert sum(model.batches) == 5
    assert max(model.batches[1:]) == 2


@pytest.mark.parametrize('batch_size', ['1', '8'])
def test_an_image_that_does_not_fit_alone_is_named_and_the_others_are_segmented(
    call, capsys, batch_size
):
    _, model = call('photos/0.png')
    model.memory = 4 * 30 * 40 * 3
    Image.new('RGB', (90, 90)).save('photos/2.png')
    assert call('photos/*.png', '--batch-size', batch_size)[0] == 1
    printed = capsys.readouterr().out
    assert 'not segmented: photos/2.png is too large for the memory: make it smaller' in printed
    assert len(read('out/shares.json')['images']) == 4
    model.memory *= 9
    assert call('photos/*.png', '--batch-size', batch_size)[0] == 0
    assert '4 were segmented before' in capsys.readouterr().out


@pytest.mark.parametrize('part', ['prepare', 'write'])
def test_memory_that_ends_before_or_after_the_model_names_the_image(
    call, capsys, monkeypatch, part
):
    def too_large(self, path, *_):
        if '3.png' in str(path):
            raise MemoryError
        return plain(self, path, *_)

    kind = BrightnessInferencer if part == 'prepare' else segment.Outputs
    plain = getattr(kind, part)
    monkeypatch.setattr(kind, part, too_large)
    assert call('photos/*.png')[0] == 1
    assert 'not segmented: photos/3.png is too large for the memory' in capsys.readouterr().out
    assert len(read('out/shares.json')['images']) == 4


def test_the_same_relative_path_elsewhere_is_another_image(call, photos, monkeypatch):
    out = str(photos.parent / 'out')
    call('photos/0.png', '--out', out)
    before = Path(out, 'overlay/0.png').read_bytes()
    other = photos.parent / 'other/photos/0.png'
    other.parent.mkdir(parents=True)
    Image.new('RGB', (40, 30), 'white').save(other)
    monkeypatch.chdir(photos.parent / 'other')
    with pytest.raises(ValueError, match='would replace'):
        call('photos/0.png', '--out', out)
    assert Path(out, 'overlay/0.png').read_bytes() == before


def test_a_file_of_equal_name_size_and_time_is_another_while_the_first_is_there(call, photos):
    """As archives unpack uncompressed images."""
    out, other = str(photos.parent / 'out'), photos.parent / 'other/0.bmp'
    Image.new('RGB', (40, 30)).save(photos / '0.bmp')
    (photos / '0.png').unlink()
    other.parent.mkdir()
    Image.new('RGB', (40, 30), 'white').save(other)
    for path in (photos / '0.bmp', other):
        os.utime(path, (7, 7))
    call(str(photos / '0.bmp'), '--out', out)
    with pytest.raises(ValueError, match='would replace'):
        call(str(other), '--out', out)
    (photos.parent / 'link').symlink_to(photos)
    assert call('link/0.bmp', '--out', out)[1].batches == [1]  # the same file


def test_another_spelling_and_a_moved_folder_are_the_same_images(call, photos, monkeypatch, capsys):
    out = str(photos.parent / 'out')
    call('photos/0.png', 'photos/1.png', '--out', out)
    call(str(photos / '0.png'), str(photos / '1.png'), '--out', out)
    assert '2 were segmented before' in capsys.readouterr().out
    photos.rename(photos.parent / 'moved')
    monkeypatch.chdir(photos.parent / 'moved')
    call('0.png', '1.png', '2.png', '--out', out)
    assert '2 were segmented before' in capsys.readouterr().out
    assert len(read(Path(out, 'shares.json'))['images']) == 3


def test_folders_of_the_users_own_with_names_of_formats_are_inputs(call, photos, capsys):
    (photos / 'groups').mkdir()
    (photos / 'broken.jpg').unlink()
    Image.new('RGB', (40, 30), 'white').save(photos / 'groups/us.png')
    for _ in range(2):
        assert call('photos', '--out', 'photos')[0] == 0
        assert len(read('photos/shares.json')['images']) == 6
    assert '6 were segmented before' in capsys.readouterr().out


def read(path):
    """Content of a JSON file."""
    return json.loads(Path(path).read_text())


@pytest.fixture
def clip(photos):
    """Six frames that become lighter."""
    path = photos / 'clip.avi'
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (40, 30))
    for index in range(6):
        video.write(np.full((30, 40, 3), 45 * index, np.uint8))
    video.release()
    return path


def test_a_video_gives_a_video_and_shares_per_frame(call, clip):
    status, _ = call(str(clip), '--format', 'png,label,json', '--every', '2')
    assert status == 0
    (line,) = read('out/shares.json')['images']
    assert [frame['frame'] for frame in line['shares']] == [0, 2, 4]
    assert [frame.get('light', 0) for frame in line['shares']] == [0, 0, 1]
    capture = cv2.VideoCapture('out/overlay/clip.mp4')
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 3
    assert capture.get(cv2.CAP_PROP_FPS) == 5


def test_frames_of_earlier_words_do_not_stay(call, clip, capsys):
    call(str(clip), '--format', 'label')
    assert len(list(Path('out/labels/clip').iterdir())) == 6
    call(str(clip), '--format', 'label', '--every', '3', '--overwrite')
    assert len(list(Path('out/labels/clip').iterdir())) == 2
    capsys.readouterr()
    call(str(clip), '--format', 'label', '--every', '3')
    assert '1 were segmented before' in capsys.readouterr().out
    next(Path('out/labels/clip').iterdir()).unlink()
    call(str(clip), '--format', 'label', '--every', '3')
    assert '2 frames' in capsys.readouterr().out
    assert len(list(Path('out/labels/clip').iterdir())) == 2


def test_a_recording_of_a_camera_is_not_replaced(call, monkeypatch):
    """It ends with Ctrl-C; one that has no frame yet is none."""

    counts = iter([0, 3, 2])

    def frames(*_, **__):
        for number in range(next(counts)):
            yield video.Frame(number, np.full((30, 40, 3), 90, np.uint8), 25)
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, 'check_cameras', lambda _: None)
    monkeypatch.setattr(video, 'read_frames', frames)
    for _ in range(2):
        assert call('camera:0')[0] == 0
    (line,) = read('out/shares.json')['images']
    assert len(line['shares']) == 3
    with pytest.raises(ValueError, match='out holds an earlier recording of camera:0: name'):
        call('camera:0')
    call('camera:0', '--overwrite')
    assert len(read('out/shares.json')['images'][0]['shares']) == 2


def test_a_video_ends_after_max_frames(call, clip, capsys):
    call(str(clip), '--max-frames', '2', '--format', 'json')
    assert '0 images and 2 frames' in capsys.readouterr().out


def test_a_file_that_is_no_video_is_named(call, photos, capsys):
    (photos / 'broken.mp4').write_bytes(b'no video')
    status, _ = call(str(photos / 'broken.mp4'))
    assert status == 1
    assert 'broken.mp4 cannot be opened' in capsys.readouterr().out


def test_a_camera_that_is_not_there_is_named(monkeypatch, photos):
    monkeypatch.setattr(segment, 'make_inferencer', lambda _: pytest.fail('loaded'))
    argv = ['segment', 'photos', 'camera:63', '--out', 'out', '--words', 'dark, light']
    with pytest.raises(ValueError, match='camera:63 cannot be opened: is there no camera of'):
        app(argv, standalone_mode=False)
    assert not Path('out').exists()


@pytest.mark.parametrize(
    'options,message',
    [
        (('--words', ''), 'The class list is empty'),
        (('--words', 'Cat, cat '), "'Cat' and 'cat', which are one word"),
        (('--words', "cat's, cat\u2019s"), 'which are one word'),
        (('--words', 'cat', '--thresholds', 'cat=2'), r'threshold 2\.0 of cat is outside \[0, 1\]'),
        (('--words', 'cat', '--thresholds', 'dog=.5'), 'There is no class dog'),
        (('--words', 'cat', '--thresholds', 'cat'), 'is not NAME=NUMBER'),
        (('--words', 'cat', '--not', 'cat'), 'holds cat more than once'),
        (('--words', 'cat', '--templates', 'photo'), "no template set 'photo'"),
        (('--classes', 'none.txt'), r'There is no class file none\.txt'),
    ],
)
def test_wrong_classes_are_one_sentence_before_a_model_is_loaded(
    monkeypatch, photos, options, message
):
    monkeypatch.setattr(GroupViTInferencer, 'from_pretrained', lambda *_, **__: pytest.fail('load'))
    argv = ['segment', 'photos', '--out', 'out', *options]
    with pytest.raises((ValueError, OSError), match=message) as caught:
        app(argv, standalone_mode=False)
    assert '\n' not in str(caught.value)
    assert not Path('out').exists()


def test_thresholds_and_negative_words_reach_the_classes(monkeypatch, photos):
    chosen = []

    def remember(*_, **options):
        chosen.append(options)
        return BrightnessInferencer()

    monkeypatch.setattr(GroupViTInferencer, 'from_pretrained', remember)
    argv = ['segment', 'photos/0.png', '--out', 'out', '--words', 'a mouse, cat']
    argv += ['--thresholds', 'mouse=.6', '--not', 'a computer mouse, statue']
    assert app(argv, standalone_mode=False) == 0
    (options,) = chosen
    classes = make_class_list(['thing']).looking_for(
        options.pop('class_names'), **class_options(options)
    )
    assert classes.class_names == ('background', 'mouse', 'cat')
    assert classes.thresholds == (0.6, 0.0)
    assert classes.background_words == ('computer mouse', 'statue')


def class_options(options):
    """Options of classes among those of ``from_pretrained``."""
    return {name: options[name] for name in options if name not in ('config', 'device')}


@pytest.mark.parametrize(
    'args,message',
    [
        (('photos', '--bg-thresh', '1.5'), r'--bg-thresh 1\.5 is outside \[0, 1\]'),
        (('photos', '--batch-size', 'many'), "neither 'auto' nor a positive number"),
        (('photos', '--batch-size', '0'), "neither 'auto' nor a positive number"),
        (('photos', '--mode', 'both'), '--mode both is neither whole nor slide'),
        (('photos', '--pamr-steps', '-1'), '--pamr-steps -1 is negative'),
        (('photos', '--every', '0'), '--every 0 must be at least 1'),
        (('photos', '--format', 'gif'), '--format gif: choose from'),
        (('photos', '--classes', 'x.txt'), 'Name the classes'),
        (('photos/clip.avi', '--format', 'coco'), 'takes images, and .* is a video'),
        (
            ('photos/clip.avi', '--format', 'png,yolo'),
            '--format yolo takes images, and .* is a video',
        ),
    ],
)
def test_wrong_options_are_one_sentence_before_the_model_is_loaded(
    monkeypatch, photos, clip, args, message
):
    monkeypatch.setattr(segment, 'make_inferencer', lambda _: pytest.fail('loaded'))
    argv = ['segment', *args, '--out', 'out', '--words', 'dark, light']
    with pytest.raises(ValueError, match=message):
        app(argv, standalone_mode=False)
    assert not (photos.parent / 'out').exists()


def test_no_words_are_one_sentence(photos):
    with pytest.raises(ValueError, match='Name the classes: --words'):
        app(['segment', 'photos', '--out', 'out'], standalone_mode=False)


ALL = ['--format', 'png,label,json,coco,yolo']


@pytest.mark.parametrize('name', ['labels/0.png', 'coco.json', 'overlay/x.txt', 'yolo/data.yaml'])
def test_files_of_others_are_not_replaced(call, name):
    path = Path('out', name)
    path.parent.mkdir(parents=True)
    path.write_text('mine')
    with pytest.raises(ValueError, match='and no earlier call of this command wrote it'):
        call('photos', *ALL)
    assert [p for p in Path('out').rglob('*') if p.is_file()] == [path]
    call('photos', '--format', 'json')  # which none of these files is
    assert path.read_text() == 'mine'


def test_files_of_others_may_be_replaced_on_request(call):
    Path('out').mkdir()
    Path('out/coco.json').write_text('mine')
    call('photos', *ALL, '--overwrite')
    assert len(read('out/coco.json')['images']) == 5


@pytest.mark.parametrize('out', ['photos', 'photos/masks', '.'])
def test_results_are_no_input_of_the_next_call(call, out, capsys):
    first, _ = call('photos', *ALL, '--out', out)
    shares = read(f'{out}/shares.json')
    files = sorted(Path('photos').rglob('*'))
    second, _ = call('photos', *ALL, '--out', out)
    assert (first, second) == (1, 1)  # for the file that is no image
    assert '5 were segmented before' in capsys.readouterr().out
    assert read(f'{out}/shares.json') == shares
    assert sorted(Path('photos').rglob('*')) == files
    assert len(shares['images']) == 5


def test_results_as_the_input_are_refused(call):
    call('photos', *ALL)
    with pytest.raises(ValueError, match='is among the results of an earlier call'):
        call('out/overlay', *ALL)
    with pytest.raises(FileNotFoundError, match='nothing but results of an earlier call'):
        call('out', *ALL)


def test_overwriting_removes_results_that_would_not_belong_to_the_new_ones(call, photos):
    call('photos', *ALL)
    Path('out/yolo/notes.txt').write_text('mine')
    call('photos/0.png', '--format', 'png', '--overwrite')
    left = sorted(p.relative_to('out').as_posix() for p in Path('out').rglob('*') if p.is_file())
    assert left == ['overlay/0.png', 'record.jsonl', 'yolo/notes.txt']
    assert len(list(photos.iterdir())) == 6


@pytest.mark.parametrize(
    'content', ['[]\n', '{}\n{"image": 1}\n', '', '3\n', '{"formats": []}\n[]\n']
)
def test_a_damaged_record_is_one_sentence(call, content):
    Path('out').mkdir()
    Path('out/record.jsonl').write_text(content)
    with pytest.raises(ValueError, match='is not a record of this command'):
        call('photos')
    call('photos', '--overwrite')
    assert len(read('out/shares.json')['images']) == 5


def test_a_record_that_names_files_elsewhere_removes_none(call, tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    line = dict(image='x', name='x', files=['../mine.txt', str(tmp_path / 'mine.txt')], version=[])
    Path('out').mkdir()
    Path('out/record.jsonl').write_text(f'{{"formats": []}}\n{json.dumps(line)}\n')
    call('photos', '--overwrite')
    assert (tmp_path / 'mine.txt').read_text() == 'mine'


@pytest.mark.parametrize(
    'args, sentence',
    [
        (['photos', '--out', ''], '--out is empty'),
        (['photos', '--out', 'photos/0.png'], 'is a file, not a folder'),
        (['photos', '--model', ' '], '--model is empty'),
        (['photos', '--max-frames', '0'], '--max-frames 0 must be at least 1'),
        ([''], 'An input is empty'),
        (['~nouser/x'], 'There is no image, video or folder ~nouser/x'),
    ],
)
def test_empty_and_impossible_arguments_are_one_sentence(call, args, sentence):
    with pytest.raises((ValueError, FileNotFoundError), match=sentence):
        call(*args)
    assert not Path('out').exists()


def test_the_precisions_of_the_command_are_those_of_the_models():
    assert set(segment_model.PRECISIONS) == set(PRECISIONS)


def test_an_unknown_precision_is_refused_before_a_model_is_loaded(monkeypatch, photos):
    monkeypatch.setattr(segment, 'make_inferencer', lambda _: pytest.fail('loaded'))
    argv = ['segment', 'photos', '--out', 'out', '--words', 'dark, light', '--precision', 'fp16']
    with pytest.raises(ValueError, match=r'--precision fp16 is none of auto, fp32, fp32-plain'):
        app(argv, standalone_mode=False)


def test_the_record_holds_the_precision_that_was_used(call):
    _, model = call('photos/0.png', '--precision', 'auto')
    header = json.loads(Path('out/record.jsonl').read_text().splitlines()[0])
    assert header['precision'] == model.precision == 'fp32'
    assert segment_model.recorded_precision(Path('out')) == 'fp32'


@pytest.mark.parametrize('text', ['', '[]', '{"precision": 3}', 'torn'])
def test_a_record_without_a_precision_names_none(tmp_path, text):
    assert segment_model.recorded_precision(tmp_path) is None
    (tmp_path / 'record.jsonl').write_text(text)
    assert segment_model.recorded_precision(tmp_path) is None


@pytest.mark.parametrize(
    'recorded, option, expected',
    [
        (None, None, 'auto'),
        ('bf16', None, 'bf16'),
        ('bf16', 'auto', 'bf16'),
        ('bf16', 'int8', 'int8'),
        ('int8', None, 'auto'),  # nobody asks for it here: the record is of other settings
    ],
)
def test_a_call_that_continues_keeps_the_precision(
    monkeypatch, tmp_path, recorded, option, expected
):
    inferencer = GroupViTInferencer(TINY, class_names=['cat', 'dog'])
    monkeypatch.setattr(GroupViTInferencer, 'from_pretrained', lambda *_, **__: inferencer)
    if recorded:
        (tmp_path / 'record.jsonl').write_text(json.dumps(dict(precision=recorded)) + '\n')
    options = dict.fromkeys(segment.SegmentOptions._fields)
    options |= dict(model='tiny', words='cat, dog', out=tmp_path, device='cpu', precision=option)
    made = segment_model.make_inferencer(segment.SegmentOptions(**options))
    assert made.segmentor.options.precision == expected
