"""Words as chips: by mouse and by keyboard, and what they change."""


def test_words_are_added_with_other_names_and_removed(visitor, page):
    assert visitor.words() == ['ball', 'grass', 'water']
    visitor.add('cat = kitten, dog')
    assert visitor.words()[3:] == ['cat = kitten', 'dog']
    visitor.wait_until(lambda: 'dog' in visitor.shares())
    assert set(visitor.shares()) == {'ball', 'grass', 'water', 'cat = kitten', 'dog'}
    page.get_by_role('button', name='Remove grass').click()
    visitor.wait_until(lambda: 'grass' not in visitor.shares())
    assert abs(sum(visitor.shares().values()) - 100) < 0.5


def test_a_long_word_stays_within_its_card_and_can_be_removed(visitor, page):
    word = 'x' * 79
    visitor.add(word)
    visitor.wait_until(lambda: word in visitor.shares())
    for selector in ('#words', '.shares'):
        assert page.locator(selector).first.evaluate('e => e.scrollWidth <= e.clientWidth')
    page.get_by_role('button', name=f'Remove {word}').click()
    visitor.wait_until(lambda: word not in visitor.shares())


def test_words_are_reordered_by_keyboard_and_by_dragging(visitor, page):
    first = page.locator('#words .chip-name').first
    first.focus()
    first.press('Alt+ArrowRight')
    assert visitor.words() == ['grass', 'ball', 'water']
    assert page.evaluate('document.activeElement.textContent') == 'ball'
    assert 'word 2 of 3' in page.locator('#words .chip-status').inner_text()
    page.locator('#words .chip').last.drag_to(page.locator('#words .chip').first)
    assert visitor.words() == ['water', 'grass', 'ball']
    heat_maps = page.locator('.view').all_inner_texts()[-3:]
    visitor.wait_until(lambda: page.locator('.view').all_inner_texts()[-3:] == visitor.words())
    assert sorted(heat_maps) == ['ball', 'grass', 'water']


def test_a_chip_is_renamed_coloured_and_removed_by_keyboard_alone(visitor, page):
    chip = page.locator('#words .chip-name').first
    chip.focus()
    chip.press('Enter')
    page.keyboard.press('Control+A')
    page.keyboard.type('balloon')
    page.keyboard.press('Tab')
    page.keyboard.type('ball, globe')
    page.keyboard.press('Tab')
    assert visitor.words()[0] == 'balloon = ball = globe'
    page.locator('.shares tr', has_text='balloon = ball, globe').wait_for()
    page.keyboard.press('Escape')
    assert page.evaluate('document.activeElement.textContent').startswith('balloon')
    page.keyboard.press('Delete')
    assert visitor.words() == ['grass', 'water']
    visitor.wait_until(lambda: set(visitor.shares()) == {'grass', 'water'})


def test_a_word_is_painted_in_the_colour_that_is_chosen(visitor, page):
    word = max(visitor.shares(), key=visitor.shares().get)
    page.locator('#words .chip-name', has_text=word).click()
    before = visitor.source()
    page.locator('#words .edit-colour').fill('#010203')
    visitor.wait_for_change(visitor.source, before)
    swatch = page.locator('.shares tbody tr').first.locator('.swatch')
    assert 'rgb(1, 2, 3)' in swatch.get_attribute('style')
    visitor.set_number('opacity', 1)
    visitor.wait_until(lambda: any(max(colour) < 12 for colour in colours(page)))


def colours(page):
    """Some colours of the large picture."""
    return page.locator('.stage-image').evaluate(
        """async (image) => {
          await image.decode();
          const canvas = document.createElement('canvas');
          [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
          const context = canvas.getContext('2d');
          context.drawImage(image, 0, 0);
          return [3, 5, 7, 11, 13].map((n) => [...context.getImageData(
            Math.floor(canvas.width / n), Math.floor(canvas.height / n), 1, 1).data].slice(0, 3));
        }"""
    )


def test_words_that_cannot_be_used_are_one_sentence_and_change_nothing(visitor, page):
    visitor.add('Ball')
    assert 'in the list already' in page.locator('#words .chip-status').inner_text()
    before = visitor.source()
    visitor.add(', '.join(f'word {number}' for number in range(30)))
    page.locator('.message .is-error').wait_for()
    assert 'limit of 20' in page.locator('.message').inner_text()
    assert visitor.source() == before
    assert '%' in page.locator('.shares').inner_text()


def test_background_words_and_a_word_alone_have_a_background(visitor, page):
    visitor.add('sky', 'background')
    visitor.wait_until(lambda: any(name.startswith('background') for name in visitor.shares()))
    page.get_by_role('button', name='Remove sky').click()
    visitor.wait_until(lambda: set(visitor.shares()) == {'ball', 'grass', 'water'})
    for name in ('grass', 'water'):
        page.get_by_role('button', name=f'Remove {name}').click()
    visitor.wait_until(lambda: any(name.startswith('background') for name in visitor.shares()))


def test_without_a_word_the_page_asks_for_one(visitor, page):
    for name in visitor.words():
        page.get_by_role('button', name=f'Remove {name}').click()
    page.locator('.message .is-error').wait_for()
    assert 'Add a word' in page.locator('.message').inner_text()


def test_templates_change_the_scores(visitor, page):
    alt = visitor.view('^ball$')
    before = visitor.source()
    page.get_by_label('Templates').click()
    page.get_by_role('option', name='full').click()
    visitor.wait_for_change(visitor.source, before)
    assert 'ball' in alt


def test_the_threshold_answers_without_encoding_again(visitor, page):
    visitor.set_number('threshold', 1)
    visitor.wait_until(lambda: visitor.shares().get('background') == 100)
    assert 'without encoding again' in page.locator('.took').inner_text()
    visitor.set_number('threshold', 0)
    visitor.wait_until(lambda: 'background' not in visitor.shares())
    assert 'without encoding again' in page.locator('.took').inner_text()


def test_ten_thousand_words_are_one_sentence_and_the_page_goes_on(visitor, page):
    before = visitor.source()
    page.locator('#words .chip-field').evaluate(
        """(field) => {
          field.removeAttribute('maxlength');
          field.value = Array.from({length: 10000}, (_, number) => `word ${number}`).join(', ');
          field.form.requestSubmit();
        }"""
    )
    page.locator('.message .is-error').wait_for()
    assert page.locator('.message .is-error').count() == 1
    assert 'are more than the limit of 20' in page.locator('.message').inner_text()
    assert visitor.source() == before
    visitor.set_number('opacity', 1)  # still answers, with the same sentence
    page.locator('.message .is-error').wait_for()


def test_markup_in_words_is_shown_as_text_and_runs_nothing(visitor, page):
    words = ['<b>bold</b>', 'x"><svg onload>', '<img>', '${window.broken++}']
    for word in words:
        visitor.add(word)
    visitor.wait_until(lambda: set(words) <= {*visitor.shares()})
    titles = page.locator('.view').all_inner_texts()
    for word in words:
        assert any(word in title for title in titles), word
    page.locator('#pixel-look').click()
    page.locator('#pixel-answer .pixel').wait_for()
    parts = ('#words', '.shares', '.views', '#pixel-answer', '#texts')
    assert page.locator(', '.join(f'{part} b, {part} svg' for part in parts)).count() == 0
    assert page.locator('#words img, .shares img').count() == 0
    assert not page.evaluate("'broken' in window")
