"""What a command line of ``groupvit segment`` names."""

import pytest

from groupvit_cli.sources import find_sources


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder with images in sub-folders, a video and other files."""
    for name in (
        'b.JPG',
        'a.png',
        'trip/a.png',
        'trip/ä ö.webp',
        'clip.mp4',
        'notes.txt',
        '.hidden.png',
    ):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    return tmp_path / 'photos'


def names(*inputs):
    """Names by which results are written."""
    return [source.name for source in find_sources([str(each) for each in inputs])]


def test_a_folder_gives_images_and_videos_of_all_depths(photos):
    sources = find_sources([str(photos)])
    assert [s.name for s in sources] == ['a', 'b', 'clip', 'trip/a', 'trip/ä ö']
    assert [s.kind for s in sources] == ['image', 'image', 'video', 'image', 'image']


def test_files_and_patterns(photos):
    assert names('photos/*.png') == ['a']
    assert names('photos/**/*.png') == ['a', 'trip/a']
    (photos / 'trip').rename(photos / 'trip [2]')
    assert names('photos/trip [2]/*') == ['a', 'ä ö']
    assert names('photos/trip [2]/a.png') == ['a']
    assert names('photos/**/*.png') == ['a', 'trip [2]/a']
    assert names('photos/trip [[]2]/*') == ['trip [2]/a', 'trip [2]/ä ö']
    assert names(photos / 'notes.txt') == ['notes']  # named: its content decides


def test_each_file_counts_once(photos):
    assert len(find_sources([str(photos / 'a.png'), str(photos), 'photos/a.png'])) == 5


def test_equal_names_are_told_apart(photos):
    (photos / 'a.jpg').write_bytes(b'x')
    assert names(photos)[:2] == ['a.jpg', 'a.png']
    assert names(photos / 'a.png', photos / 'trip/a.png') == ['a.png', 'a.png-2']


def test_cameras(photos):
    (source,) = find_sources(['camera:0'])
    assert (source.kind, source.name) == ('camera', 'camera_0')
    with pytest.raises(ValueError, match='camera:front names no camera'):
        find_sources(['camera:front'])


@pytest.mark.parametrize('text', ['nothing.jpg', 'photos/*.gif', 'no/folder/'])
def test_an_input_that_names_nothing_is_one_sentence(photos, text):
    with pytest.raises(FileNotFoundError, match='There is no image, video or folder'):
        find_sources([text])


def test_an_empty_folder_is_one_sentence(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    with pytest.raises(FileNotFoundError, match='holds no image and no video'):
        find_sources([str(tmp_path)])
