"""For everyone: labels, contrast, keyboard, phones, several visitors, and a password."""

import pytest

from groupvit_web.address import Address
from groupvit_web.page import build_page
from groupvit_web.serve import serve

SERIOUS = {'serious', 'critical'}
OF_GRADIO: dict[str, str] = {}
"""dict[str, str]: Rules that Gradio's own markup breaks, each with a reason."""


ORDER = ['picture-upload', 'examples', 'words', 'background', 'stage', 'threshold', 'pixel-row']
FOCUSED_PART = """(ids) => {
  const part = document.activeElement.closest(ids.map((id) => `#${id}`).join(','));
  return part ? part.id : '';
}"""


def violations(page):
    """The rules that are seriously broken, with the first places."""
    axe = pytest.importorskip('axe_playwright_python.sync_playwright')
    found = axe.Axe().run(page).response['violations']
    return {
        each['id']: [node['html'][:200] for node in each['nodes'][:3]]
        for each in found
        if each['impact'] in SERIOUS and each['id'] not in OF_GRADIO
    }


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_axe_finds_nothing_serious(open_page, scheme):
    visitor = open_page(color_scheme=scheme)
    page = visitor.page
    dark = page.evaluate(
        "document.documentElement.matches('.dark') || !!document.querySelector('.dark')"
    )
    assert dark == (scheme == 'dark')
    visitor.add('cat = kitten')
    page.locator('#words .chip-name').last.click()
    page.locator('#pixel-look').click()
    page.locator('#pixel-answer .pixel').wait_for()
    page.get_by_role('button', name='Compare').first.click()
    page.locator('#compare-button').click()
    page.locator('.wipe:not([hidden])').wait_for()
    page.get_by_role('button', name='Take away').click()
    page.locator('#texts pre').first.wait_for()
    assert violations(page) == {}


@pytest.mark.parametrize('tab', ['Training', 'Evaluation'])
def test_axe_finds_nothing_serious_in_the_other_tabs(page, tab):
    page.get_by_role('tab', name=tab).click()
    assert violations(page) == {}


def test_every_control_has_a_name(page):
    for role in ('button', 'textbox', 'slider', 'checkbox', 'radio', 'spinbutton', 'listbox'):
        for control in page.get_by_role(role).all():
            if control.is_visible():
                assert control.evaluate(
                    'e => (e.getAttribute("aria-label") || e.title || e.innerText ||'
                    ' e.alt || [...(e.labels || [])].map((l) => l.innerText).join("")).trim()'
                ), control.evaluate('e => e.outerHTML.slice(0, 200)')


def test_the_tab_key_reaches_everything_in_the_order_of_the_page(page):
    page.locator('.masthead').click()
    order = []
    for _ in range(60):
        page.keyboard.press('Tab')
        order.append(page.evaluate(FOCUSED_PART, ORDER))
    reached = list(dict.fromkeys(filter(None, order)))
    assert reached == ORDER


def test_a_phone_shows_everything_below_each_other(open_page):
    visitor = open_page(viewport=dict(width=390, height=844), has_touch=True, is_mobile=True)
    page = visitor.page
    assert page.evaluate('document.documentElement.scrollWidth') <= 390
    image = page.locator('.stage-image').bounding_box()
    assert image['width'] > 300
    for part in ('#words', '#threshold', '#shares', '#pixel-row'):
        box = page.locator(part).bounding_box()
        assert box['x'] >= 0
        assert box['x'] + box['width'] <= 390
    page.locator('.stage-image').tap()
    page.locator('#pixel-answer .pixel').wait_for()
    scrolls = page.evaluate(
        "[...document.querySelectorAll('main *')].filter((e) => e.scrollHeight > e.clientHeight + 4"
        " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowY)).length"
    )
    assert scrolls == 0


def test_motion_is_reduced_for_those_who_ask(open_page):
    page = open_page(reduced_motion='reduce').page
    durations = page.evaluate(
        "[...document.querySelectorAll('main *')].map((e) => getComputedStyle(e)).map((s) =>"
        ' Math.max(parseFloat(s.transitionDuration), parseFloat(s.animationDuration)))'
    )
    assert max(durations) < 0.001


def test_visitors_do_not_see_each_others_pictures_and_words(open_page):
    first, second = open_page(), open_page()
    first.add('zebra')
    first.wait_until(lambda: 'zebra' in first.shares())
    second.page.get_by_role('button', name='Photograph: cow').click()
    second.wait_for_picture('cow.png')
    assert 'zebra' not in second.shares()
    first.view('^Picture$')
    assert first.page.locator('.stage-caption').inner_text() == 'bus.jpg'


def test_a_password_is_asked_for(chromium, served):
    page = build_page(served.setup)
    url = serve(page, Address(port=0, user=('ada', 'secret')))
    context = chromium.new_context()
    try:
        visitor = context.new_page()
        visitor.goto(url)
        visitor.get_by_label('username').fill('ada')
        visitor.get_by_label('password').fill('secret')
        assert visitor.locator('.stage-image').count() == 0
        visitor.get_by_role('button', name='Login').click()
        visitor.locator('.stage-image[src]').wait_for()
    finally:
        context.close()
        page.close(verbose=False)
