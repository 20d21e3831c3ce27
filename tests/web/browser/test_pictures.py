"""Pictures: examples, files that are chosen, dropped and pasted, and files that are none."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

DROP = """([target, name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const data = new DataTransfer();
  data.items.add(new File([bytes], name, {type}));
  const event = target === 'paste'
    ? new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true})
    : new DragEvent(target, {dataTransfer: data, bubbles: true, cancelable: true});
  document.querySelector('.masthead').dispatchEvent(event);
}"""


def picture(kind='PNG', size=(64, 48), **options):
    """A picture file of two colours."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[:, size[0] // 2 :] = (200, 120, 40)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def animation():
    """A GIF of two frames."""
    frames = [Image.new('RGB', (64, 48), colour) for colour in ('red', 'blue')]
    stream = io.BytesIO()
    frames[0].save(stream, 'GIF', save_all=True, append_images=frames[1:])
    return stream.getvalue()


def test_examples_are_photographs_of_the_folder_and_scenes(visitor, page):
    titles = [image.get_attribute('alt') for image in page.locator('.example img').all()]
    assert titles[:2] == ['Photograph: bus', 'Photograph: cow']
    assert len([title for title in titles if title.startswith('Scene: ')]) == 6
    visitor.wait_for_picture('bus.jpg')
    page.get_by_role('button', name='Photograph: cow').click()
    visitor.wait_for_picture('cow.png')


def test_a_file_is_chosen(visitor, page):
    with page.expect_file_chooser() as chooser:
        page.get_by_role('button', name='Choose a picture').click()
    content = picture('JPEG')
    chooser.value.set_files([dict(name='mine.jpg', mimeType='image/jpeg', buffer=content)])
    visitor.wait_for_picture('mine.jpg')
    assert 'the picture was encoded' in page.locator('.took').inner_text()


@pytest.mark.parametrize('way', ['drop', 'paste'])
def test_a_file_is_dropped_or_pasted_anywhere(visitor, page, way):
    page.evaluate(DROP, [way, f'{way}.png', 'image/png', base64.b64encode(picture()).decode()])
    visitor.wait_for_picture(f'{way}.png')
    assert page.locator('.message .is-error').count() == 0


def test_dragging_a_file_over_the_page_says_where_it_may_fall(page):
    page.evaluate(DROP, ['dragover', 'a.png', 'image/png', ''])
    content = "getComputedStyle(document.body, '::after').content"
    assert page.evaluate(content) == '"Drop the picture anywhere"'


def test_the_first_frame_of_an_animation_is_taken_and_the_page_says_so(visitor, page):
    page.evaluate(DROP, ['drop', 'moving.gif', 'image/gif', base64.b64encode(animation()).decode()])
    visitor.wait_until(lambda: 'first' in page.locator('.message').inner_text())
    assert page.locator('.message .is-error').count() == 0
    visitor.wait_for_picture('moving.gif')


def test_files_that_are_no_pictures_are_one_sentence_and_change_nothing(visitor, page):
    before = visitor.source()
    files = {
        'paper.pdf': b'%PDF-1.7 ...',
        'notes.txt': b'no picture at all',
        'empty.png': b'',
        'half.jpg': picture('JPEG')[:200],
        'phone.heic': b'\0\0\0\x18ftypheic\0\0\0\0mif1heic',
        'drawing.svg': b'<svg xmlns="http://www.w3.org/2000/svg"></svg>',
        'tiny.png': picture(size=(2, 2)),
    }
    for name, content in files.items():
        page.evaluate(DROP, ['drop', name, '', base64.b64encode(content).decode()])
        visitor.wait_until(lambda name=name: name in page.locator('.message').inner_text())
        assert page.locator('.message p.is-error').count() == 1, name
        assert visitor.source() == before, name


def test_a_file_over_the_limit_is_refused_before_it_is_read(visitor, page):
    before = visitor.source()
    content = base64.b64encode(bytes(2**20 + 1)).decode()
    page.evaluate(DROP, ['drop', 'large.png', 'image/png', content])
    page.get_by_text('exceed the maximum allowed size of 1.0 Mb').first.wait_for()
    assert visitor.source() == before


def test_the_same_picture_is_encoded_once_for_all_visitors(open_page):
    for number in range(2):
        visitor = open_page()
        content = base64.b64encode(picture(size=(72, 48))).decode()
        visitor.page.evaluate(DROP, ['drop', f'same-{number}.png', 'image/png', content])
        visitor.wait_for_picture(f'same-{number}.png')
        took = visitor.page.locator('.took').inner_text()
        assert ('without encoding again' in took) == bool(number)
