"""The Label Studio backend: labelling configs, masks, images, and the server as a process."""

import importlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from groupvit_mmseg.inference import GroupViTInferencer, load_image
from groupvit_mmseg.results import InferenceResult
from groupvit_mmseg.text.class_file import read_class_file

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'demo/label_studio'
BRUSH = """
<View>
  <Image name="photo" value="$picture"/>
  <BrushLabels name="masks" toName="photo">
    <Label value="Cat"/>
    <Label value="Vehicle" predicted_values="car, bus"/>
  </BrushLabels>
</View>
"""
POLYGON = BRUSH.replace('BrushLabels', 'PolygonLabels')


@pytest.fixture(autouse=True)
def _modules(monkeypatch):
    """The demo's folder is on the path, as for the script."""
    monkeypatch.syspath_prepend(FOLDER)
    for name in ('LABEL_STUDIO_URL', 'LABEL_STUDIO_API_KEY'):
        monkeypatch.delenv(name, raising=False)


def module(name):
    return importlib.import_module(name)


def labelling_of(config=BRUSH, **defaults):
    labelling = module('labelling_config')
    return labelling.read_labelling(config, labelling.Defaults(**defaults))


# Labelling configs.


def test_labels_become_classes():
    labelling = labelling_of()
    assert labelling[:4] == ('masks', 'photo', 'picture', 'brush')
    assert labelling.labels == ('Cat', 'Vehicle')
    classes = labelling.classes
    assert classes.class_names == ('Cat', 'car')
    assert classes.aliases == {'car': ('bus',)}
    assert (classes.with_background, classes.bg_thresh) == (False, None)
    assert labelling_of(POLYGON).form == 'polygon'


def test_annotations_name_a_label_by_its_alias():
    labelling = labelling_of(BRUSH.replace('value="Cat"', 'value="Cat" alias="animal-1"'))
    assert labelling.labels == ('animal-1', 'Vehicle')
    assert labelling.classes.class_names == ('Cat', 'car')


def test_background_of_the_config_precedes_options_and_class_file(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('background: road\nCat, kitten >= 0.6\nhorse, foal >= 0.7\n')
    file = read_class_file(path)
    with_file = labelling_of(class_file=file)
    assert with_file.classes.class_names == ('background', 'Cat', 'car')
    assert with_file.classes.background_words == ('road',)
    assert with_file.classes.aliases == {'Cat': ('kitten',), 'car': ('bus',)}
    assert with_file.classes.class_thresholds == {'Cat': 0.6}
    options = labelling_of(class_file=file, background_words=('sea',), bg_thresh=0.2)
    assert (options.classes.background_words, options.classes.bg_thresh) == (('sea',), 0.2)
    own = 'toName="photo" model_background_words="sky, wall" model_score_threshold="0.9"'
    config = labelling_of(BRUSH.replace('toName="photo"', own), background_words=('sea',))
    assert config.classes.background_words == ('sky', 'wall')
    assert config.classes.bg_thresh == 0.9
    prints = {each.fingerprint for each in (with_file, options, config, labelling_of())}
    assert len(prints) == 4
    assert labelling_of().fingerprint == labelling_of().fingerprint


def test_one_label_alone_is_told_from_common_objects():
    one = BRUSH.replace('<Label value="Vehicle" predicted_values="car, bus"/>', '')
    classes = labelling_of(one).classes
    assert classes.class_names == ('background', 'Cat')
    assert len(classes.background_words) > 70


def test_of_two_kinds_of_labels_the_first_or_the_named_is_taken():
    both = BRUSH.replace(
        '</View>',
        '<PolygonLabels name="p" toName="photo"><Label value="Dog"/></PolygonLabels></View>',
    )
    assert labelling_of(both).control == 'masks'
    assert labelling_of(both, form='polygon').control == 'p'


@pytest.mark.parametrize(
    'config, message',
    [
        (None, 'is no XML'),
        ('<View>', 'is no XML'),
        (BRUSH.replace('BrushLabels', 'RectangleLabels'), 'no <BrushLabels> or <PolygonLabels>'),
        (
            BRUSH.replace('toName="photo"', 'toName="text"'),
            'whose toName is the name of an <Image>',
        ),
        (BRUSH.replace('Label value', 'Label hint'), 'has no <Label value='),
        (BRUSH.replace('"car, bus"', '"cat, bus"'), 'Two labels mean'),
        (BRUSH.replace('toName=', 'model_score_threshold="high" toName='), 'no number in'),
        (BRUSH.replace('toName=', 'model_score_threshold="3" toName='), r'outside \[0, 1\]'),
    ],
)
def test_wrong_configs_are_one_sentence(config, message):
    with pytest.raises(ValueError, match=message):
        labelling_of(config)


# Masks.


def decode_brush(data):
    """The obvious decoder: values one by one."""
    bits = ''.join(f'{byte:08b}' for byte in data)
    position = 0

    def read(count):
        nonlocal position
        position += count
        return int(bits[position - count : position], 2)

    count, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < count:
        is_run, length = read(1), read(sizes[read(2)]) + 1
        values += [read(word)] * length if is_run else [read(word) for _ in range(length)]
    assert len(bits) - position < 8
    return np.array(values, np.uint8)


def masks():
    rng = np.random.default_rng(0)
    noise = [rng.random((9, 13)) > share for share in (0.1, 0.5, 0.9)]
    blob = cv2.GaussianBlur(rng.random((200, 150)), (0, 0), 9) > 0.5
    return [
        *noise,
        blob,
        np.ones((130, 127), bool),
        np.zeros((256, 256), bool),
        np.ones((1, 1), bool),
    ]


def test_brush_masks_decode_to_the_mask():
    for mask in masks():
        data = module('label_studio_masks').encode_brush(mask)
        channels = decode_brush(data).reshape(*mask.shape, 4)
        assert set(data) <= set(range(256))
        for channel in range(4):
            np.testing.assert_array_equal(channels[..., channel], mask * 255)


def test_label_studios_own_decoder_reads_brush_masks():
    brush = pytest.importorskip(
        'label_studio_converter.brush', reason='label-studio-converter is not installed'
    )
    for mask in masks():
        data = module('label_studio_masks').encode_brush(mask)
        values = brush.decode_rle(data).reshape(*mask.shape, 4)
        np.testing.assert_array_equal(values[..., 3], mask * 255)
        # Theirs adds a byte of zeros where the bits are full.
        assert brush.mask2rle((mask * 255).astype(np.uint8))[: len(data)] == data


def result_of(labels, names, *, with_background=False):
    """A result whose confidence is .75, and .5 in the first row."""
    labels = np.asarray(labels)
    scores = np.full((len(names), *labels.shape), 0.1, np.float32)
    np.put_along_axis(scores, labels[None], 0.75, axis=0)
    scores[:, 0] *= 2 / 3
    image = np.zeros((*labels.shape, 3), np.uint8)
    return InferenceResult(labels, labels, scores, names, image, with_background=with_background)


def test_a_prediction_has_a_mask_for_each_label_that_occurs():
    labels = np.zeros((20, 30), int)
    labels[10:, 10:] = 2
    result = result_of(labels, ('background', 'Cat', 'car'), with_background=True)
    prediction = module('label_studio_masks').to_label_studio(result, labelling_of())
    (entry,) = prediction['result']
    np.testing.assert_array_equal(
        decode_brush(entry['value'].pop('rle')).reshape(20, 30, 4)[..., 0] > 0, labels == 2
    )
    assert entry == dict(
        id='groupvit0',
        from_name='masks',
        to_name='photo',
        type='brushlabels',
        original_width=30,
        original_height=20,
        image_rotation=0,
        value=dict(format='rle', brushlabels=['Vehicle']),
        score=0.75,
    )
    expected = result.confidence.mean()
    assert prediction['score'] == pytest.approx(expected, abs=1e-5)
    json.dumps(prediction)


def test_polygons_are_percent_and_small_ones_are_left_out():
    labels = np.zeros((20, 40), int)
    labels[4:14, 8:28] = 1
    labels[18:, 38:] = 1  # 4 pixels
    result = result_of(labels, ('Cat', 'car'))
    prediction = module('label_studio_masks').to_label_studio(result, labelling_of(POLYGON))
    cats, (car,) = prediction['result'][:-1], prediction['result'][-1:]
    assert {each['value']['polygonlabels'][0] for each in cats} == {'Cat'}
    assert car['type'] == 'polygonlabels'
    assert car['value']['polygonlabels'] == ['Vehicle']
    assert sorted(map(tuple, car['value']['points'])) == [(20, 20), (20, 70), (70, 20), (70, 70)]
    json.dumps(prediction)


def test_a_label_that_does_not_occur_has_no_mask():
    masks_module = module('label_studio_masks')
    result = result_of(np.zeros((20, 30), int), ('Cat', 'car'))
    found = masks_module.class_masks(result, min_area=0)
    assert [(label, int(mask.sum())) for label, mask in found] == [(0, 600)]


def test_a_simpler_polygon_covers_nearly_the_same_pixels():
    blob = masks()[3]
    masks_module = module('label_studio_masks')
    result = result_of(blob.astype(int), ('Cat', 'car'))
    counts, drawings = [], []
    for tolerance in (0.0, 1.0):
        outlining = masks_module.Outlining(tolerance=tolerance, min_area=0)
        prediction = masks_module.to_label_studio(result, labelling_of(POLYGON), outlining)
        cars = [e for e in prediction['result'] if e['value']['polygonlabels'] == ['Vehicle']]
        outlines = [np.array(e['value']['points']) / 100 * [1500, 2000] for e in cars]
        counts.append(sum(map(len, outlines)))
        drawings.append(np.zeros((2000, 1500), np.uint8))
        cv2.fillPoly(drawings[-1], [points.round().astype(np.int32) for points in outlines], 1)
    large = blob.repeat(10, 0).repeat(10, 1)
    assert drawings[0][large].all()  # holes are filled
    assert drawings[1][large].mean() > 0.97
    assert counts[1] < counts[0] / 2


# Images.


def read(address, **access):
    images = module('task_images')
    return images.read_task_image(
        {'id': 3, 'data': {'picture': address}}, 'picture', images.Access(**access)
    )


def test_images_over_http_uploads_and_local_files(serve_files, photos):
    server = serve_files()
    expected = load_image(photos / 'a.png')
    for address, access in (
        (f'{server.address}/a.png?expires=1', {}),
        ('/data/upload/7/a.png', dict(hostname=server.address, token='secret')),
        ('upload/7/a.png', dict(hostname=server.address + '/', token='secret')),
        ('/data/local-files/?d=a.png', dict(local_files=photos)),
        ('/data/local-files/?d=x%2Fa.png', dict(local_files=photos.parent, hostname='')),
    ):
        if 'x%2F' in address:
            address = address.replace('x%2F', f'{photos.name}%2F')
        np.testing.assert_array_equal(read(address, **access), expected)
    paths = [path for path, _ in server.requests]
    assert paths == ['/a.png?expires=1', '/data/upload/7/a.png', '/data/upload/7/a.png']
    tokens = [headers.get('Authorization') for _, headers in server.requests]
    assert tokens == [None, 'Token secret', 'Token secret']


def test_addresses_may_have_spaces_and_any_letters(serve_files, tmp_path, photos):
    shutil.copy(photos / 'a.png', tmp_path / 'my%20c%C3%A4t.png')  # served by its last part
    server = serve_files(tmp_path)
    for path in ('zoë [2]/my cät.png', 'zo%C3%AB%20[2]/my%20c%C3%A4t.png'):
        found = read(f'{server.address}/{path}?expires=1&sign=a%2Bb')
        np.testing.assert_array_equal(found, load_image(photos / 'a.png'))
    assert {path for path, _ in server.requests} == {
        '/zo%C3%AB%20[2]/my%20c%C3%A4t.png?expires=1&sign=a%2Bb'
    }


def test_the_token_goes_to_label_studio_alone(serve_files):
    own, other = serve_files(), serve_files()
    own.redirects['/data/upload/7/a.png'] = f'{other.address}/a.png'
    access = dict(hostname=own.address, token='secret')
    read('/data/upload/7/a.png', **access)
    read(f'{other.address}/b.png', **access)
    assert own.requests[0][1]['Authorization'] == 'Token secret'
    assert len(other.requests) == 2
    assert not any('Authorization' in headers for _, headers in other.requests)


def test_the_environment_precedes_the_request(monkeypatch, tmp_path):
    access_of = module('task_images').access_of
    assert access_of('http://h', 't') == ('http://h', 't', None)
    monkeypatch.setenv('LABEL_STUDIO_URL', 'http://e')
    monkeypatch.setenv('LABEL_STUDIO_API_KEY', 'k')
    monkeypatch.setenv('LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT', str(tmp_path))
    assert access_of('http://h', 't') == ('http://e', 'k', tmp_path)


@pytest.mark.parametrize(
    'address, access, message',
    [
        (None, {}, 'Task 3 has no image under "picture"; its data has picture'),
        ('s3://bucket/a.png', {}, 'pre-signed'),
        ('/data/upload/7/a.png', {}, 'set LABEL_STUDIO_URL'),
        ('/data/local-files/?d=../secret.png', dict(local_files=Path('.')), 'lies outside of'),
        ('/data/local-files/?d=none.png', dict(local_files=Path('.')), 'There is no image at'),
        ('http://127.0.0.1:9/a.png', {}, 'cannot be fetched: .*refused'),
        ('SERVER/none.png', {}, 'answers 404'),
        ('SERVER/broken.png', {}, 'cannot be read as an image'),
        ('SERVER/large.png', {}, 'more than 5,000 bytes'),
        ('http://127.0.0.1:x/a.png', {}, 'cannot be fetched|nonnumeric port'),
    ],
)
def test_images_that_cannot_be_used_are_one_sentence(
    address, access, message, serve_files, tmp_path, monkeypatch
):
    monkeypatch.setattr(module('task_images'), 'MAX_BYTES', 5_000)
    (tmp_path / 'broken.png').write_bytes(b'no image')
    (tmp_path / 'large.png').write_bytes(bytes(6_000))
    if address and address.startswith('SERVER'):
        address = address.replace('SERVER', serve_files(tmp_path).address)
    with pytest.raises((OSError, ValueError), match=message) as error:
        read(address, **access)
    assert '\n' not in str(error.value)


# The server.


def free_port():
    with socket.socket() as server:
        server.bind(('127.0.0.1', 0))
        return server.getsockname()[1]


def call(address, content=None):
    """Status and JSON of a request."""
    data = None if content is None else json.dumps(content).encode()
    request = urllib.request.Request(address, data, {'Content-Type': 'application/json'})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.fixture(scope='module')
def backend(tmp_path_factory):
    """Starts the server as a process; gives its address."""
    if importlib.util.find_spec('flask') is None:
        pytest.skip('Flask is not installed: make test-integrations')
    processes = []

    def start(checkpoint, **environment):
        port, log = free_port(), tmp_path_factory.mktemp('server') / 'log.txt'
        with log.open('w') as stream:
            process = subprocess.Popen(
                [sys.executable, FOLDER / 'serve.py', '--model', checkpoint, '--port', str(port)],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
            )
        processes.append(process)
        address = f'http://127.0.0.1:{port}'
        for _ in range(600):
            assert process.poll() is None, log.read_text()
            try:
                assert call(f'{address}/health')[1]['status'] == 'UP'
                return address
            except urllib.error.URLError:
                time.sleep(0.1)
        pytest.fail(log.read_text())

    yield start
    for process in processes:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_label_studio_is_answered(backend, checkpoint, photos, serve_files):
    images = serve_files()
    address = backend(checkpoint, LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=str(photos))
    setup = dict(schema=BRUSH, hostname=images.address, access_token='secret')
    status, answer = call(f'{address}/setup', dict(project='1.1', **setup))
    assert status == 200
    assert answer['model_version'] == f'tiny.pth-{labelling_of().fingerprint}'
    tasks = [
        dict(id=1, data=dict(picture=f'{images.address}/a.png')),
        dict(id=2, data=dict(picture='/data/upload/7/b.png')),
        dict(id=3, data=dict(picture='/data/local-files/?d=a.png')),
        dict(id=4, data=dict(picture=f'{images.address}/none.png')),
    ]
    # A second project between the two requests of the first.
    assert call(f'{address}/setup', dict(project='2.1', **{**setup, 'schema': POLYGON}))[0] == 200
    request = dict(tasks=tasks, project='1.1', label_config=BRUSH, params=dict(context=None))
    status, answer = call(f'{address}/predict', request)
    assert status == 200
    results = answer['results']
    inferencer = GroupViTInferencer.from_pretrained(
        checkpoint, class_names=['Cat', 'car'], aliases={'car': ['bus']}
    )
    for name, prediction in zip('aba', results, strict=False):
        expected = inferencer(photos / f'{name}.png')
        labels = np.full(expected.label_map.shape, -1)
        for entry in prediction['result']:
            mask = decode_brush(entry['value']['rle']).reshape(*labels.shape, 4)[..., 3] > 0
            labels[mask] = ['Cat', 'Vehicle'].index(entry['value']['brushlabels'][0])
        np.testing.assert_array_equal(labels, expected.label_map)
        assert prediction['score'] == pytest.approx(expected.confidence.mean(), abs=1e-4)
    assert list(results[3]) == ['error']  # Label Studio makes no prediction of it
    assert 'answers 404' in results[3]['error']
    tokens = {path: headers.get('Authorization') for path, headers in images.requests}
    assert tokens['/data/upload/7/b.png'] == 'Token secret'

    status, answer = call(f'{address}/predict', {**request, 'tasks': tasks[3:]})
    assert (status, answer['error'].count('\n')) == (400, 0)
    assert answer['error'].endswith('answers 404 Not Found.')
    for content in (dict(schema='<View/>'), dict(schema=None)):
        status, answer = call(f'{address}/setup', dict(project='3.1', **content))
        assert status == 400
        assert answer['error'].startswith('The labelling config')
        assert 'Traceback' not in json.dumps(answer)
    assert call(f'{address}/predict', dict(project='1.1', label_config=BRUSH))[0] == 400
    assert call(f'{address}/versions') == (200, {'versions': []})
    assert call(f'{address}/webhook', dict(action='ANNOTATION_CREATED'))[0] == 201
    assert call(f'{address}/none')[0] == 404
    status, answer = call(
        f'{address}/predict', {**request, 'label_config': POLYGON, 'project': '2.1'}
    )
    assert {e['type'] for each in answer['results'][:3] for e in each['result']} == {
        'polygonlabels'
    }


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--model', 'groupvit-gcc-yfc'], 'did you mean groupvit-gcc-yfcc'),
        (['--bg-thresh', '2'], 'outside [0, 1]'),
        (['--port', 'x'], 'no number'),
        (['--form', 'box'], 'neither brush nor polygon'),
        (['--classes', 'none.txt'], 'none.txt'),
    ],
)
def test_wrong_options_are_one_sentence(arguments, message, capsys):
    pytest.importorskip('flask', reason='Flask is not installed')
    try:
        status = module('serve').main(arguments)
    except SystemExit as end:  # of argparse
        status = end.code
    assert status == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_options_come_from_the_environment_too(monkeypatch):
    monkeypatch.setenv('GROUPVIT_MODEL', 'mine.pth')
    monkeypatch.setenv('GROUPVIT_BG_THRESH', '0.5')
    args = module('serve').parse_args(['--bg-thresh', '0.7'])
    assert (args.model, args.bg_thresh, args.port) == ('mine.pth', '0.7', '9090')


def test_a_missing_package_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'flask', None)
    monkeypatch.delitem(sys.modules, 'labelling_backend', raising=False)
    assert module('serve').main([]) == 2
    assert 'pip install -r demo/label_studio/requirements.txt' in capsys.readouterr().err
