"""What is seen: views, settings, a pixel, and comparisons."""

import re


def titles(page):
    """The titles of the views."""
    return page.locator('.view').all_inner_texts()


def test_all_views_are_there_at_once_with_texts(visitor, page):
    assert titles(page)[0] == 'Words'
    assert len([title for title in titles(page) if title.startswith('Stage')]) == 2
    assert titles(page)[3:] == ['Confidence', 'Picture', 'ball', 'grass', 'water']
    sources, texts = set(), set()
    for title in titles(page):
        texts.add(visitor.view(f'^{re.escape(title)}$'))
        sources.add(visitor.source())
        assert page.locator('.view[aria-pressed=true]').inner_text() == title
    assert len(texts) == len(titles(page))
    assert all(texts)
    assert len(sources) >= 5
    assert page.locator('.stage-image').evaluate('image => image.naturalWidth') >= 128


def test_the_opacity_draws_again_without_encoding(visitor, page):
    visitor.set_number('opacity', 0)
    visitor.wait_until(lambda: 'without encoding again' in page.locator('.took').inner_text())
    clear = visitor.source()
    visitor.set_number('opacity', 1)
    assert visitor.wait_for_change(visitor.source, clear) != clear


def test_a_slider_moves_by_keyboard(visitor, page):
    before = visitor.source()
    slider = page.locator('#opacity input[type=range]')
    slider.focus()
    for _ in range(4):
        slider.press('ArrowLeft')
    visitor.wait_for_change(visitor.source, before)
    assert float(page.locator('#opacity input[type=number]').input_value()) == 0.4


def test_windows_and_refinement_change_the_scores(visitor, page):
    visitor.view('^ball$')
    whole = visitor.source()
    page.get_by_label('Sliding windows').check()
    windows = visitor.wait_for_change(visitor.source, whole)
    page.get_by_label(re.compile('Refine')).check()
    refined = visitor.wait_for_change(visitor.source, windows)
    page.get_by_label(re.compile('Refine')).uncheck()
    page.get_by_label('Whole picture').check()
    visitor.wait_until(lambda: visitor.source() == whole)
    assert len({whole, windows, refined}) == 3


def test_a_click_explains_the_pixel(visitor, page):
    image = page.locator('.stage-image')
    box = image.bounding_box()
    image.click(position=dict(x=box['width'] * 0.25, y=box['height'] * 0.75))
    answer = page.locator('#pixel-answer')
    answer.locator('.pixel').wait_for()
    height, width = image.evaluate('image => [image.naturalHeight, image.naturalWidth]')
    row, column = (
        int(page.locator(f'#pixel-{name} input').input_value()) for name in ('row', 'column')
    )
    assert abs(row - height * 0.75) <= 2
    assert abs(column - width * 0.25) <= 2
    assert page.locator('.stage-marker').is_visible()
    scores = [float(text) for text in answer.locator('.scores .number').all_inner_texts()[1:]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert answer.locator('figure').count() == 2
    for image in answer.locator('figure img').all():
        assert 'Segment' in image.get_attribute('alt')


def test_row_and_column_explain_a_pixel_by_keyboard(visitor, page):
    page.locator('#pixel-row input').fill('5')
    page.locator('#pixel-column input').fill('7')
    page.keyboard.press('Tab')
    page.locator('#pixel-look').press('Enter')
    page.locator('#pixel-answer', has_text='Row 5, column 7').wait_for()
    visitor.wait_until(page.locator('.stage-marker').is_visible)
    # The explanation follows the settings.
    visitor.set_number('threshold', 1)
    page.locator('#pixel-answer', has_text='Row 5, column 7: background').wait_for()
    page.locator('#pixel-row input').fill('99999')
    page.locator('#pixel-look').click()
    page.locator('.message .is-error').wait_for()
    assert 'no pixel in row 99999' in page.locator('.message').inner_text()


def test_another_model_gives_another_result(visitor, page):
    visitor.view('^ball$')
    before = visitor.source()
    page.get_by_label('Model', exact=True).click()
    page.get_by_role('option', name='two').click()
    visitor.wait_for_change(visitor.source, before)
    assert visitor.source() != before


def test_two_models_and_two_lists_of_words_are_compared_with_a_wipe(visitor, page):
    page.get_by_role('button', name='Compare').first.click()
    page.locator('#compare-button').click()  # waits until the panel is open
    page.locator('.wipe:not([hidden])').wait_for()
    assert '(one)' in page.locator('.wipe-left-title').inner_text()
    assert '(two)' in page.locator('.wipe-right-title').inner_text()
    left, right = (page.locator(f'.wipe-{side}') for side in ('left', 'right'))
    assert left.get_attribute('alt')
    assert left.evaluate('i => i.naturalWidth') == right.evaluate('i => i.naturalWidth') > 0
    wipe = page.get_by_label('Position of the wipe')
    wipe.focus()
    wipe.press('Home')
    assert '0%' in right.evaluate('image => getComputedStyle(image).clipPath')
    wipe.press('End')
    assert '100%' in right.evaluate('image => getComputedStyle(image).clipPath')
    visitor.add('sky, sea', 'compare-words')
    page.locator('#compare-button').click()
    page.locator('.wipe-right-title', has_text='sky, sea').wait_for()


def test_comparing_with_itself_is_one_sentence(visitor, page):
    page.get_by_role('button', name='Compare').first.click()
    page.get_by_label('Model on the right').click()
    page.get_by_role('option', name='one').click()
    page.locator('#compare-button').click()
    page.locator('.message .is-error').wait_for()
    assert 'Both sides would be the same' in page.locator('.message').inner_text()


def test_a_threshold_that_is_none_becomes_the_nearest_one(visitor, page):
    failures = []
    page.on('response', lambda answer: failures.append(answer.status >= 400))
    field = page.locator('#threshold input[type=number]')
    visitor.wait_until(lambda: visitor.shares())
    field.fill('99')  # every pixel but those of the best segments
    visitor.wait_until(lambda: 'background' in visitor.shares())
    field.fill('-5')
    visitor.wait_until(lambda: visitor.shares().get('background', 0) == 0)
    field.fill('')
    page.wait_for_timeout(500)
    assert not any(failures)
