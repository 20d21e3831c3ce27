"""For everyone: labels, contrast, keyboard, phones, several visitors, and a password."""

import threading

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

from groupvit_web.address import Address
from groupvit_web.page import build_page
from groupvit_web.serve import free_port, serve

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
        page.blocks.close(verbose=False)


def test_a_message_is_in_sight_wherever_the_page_is_scrolled_to(open_page):
    page = open_page(viewport=dict(width=390, height=700)).page
    page.locator('#pixel-row input').fill('99999')
    page.locator('#pixel-look').click()
    error = page.locator('.message .is-error')
    error.wait_for()
    assert page.evaluate('window.scrollY') > 500
    box = error.bounding_box()
    assert 0 <= box['y'] < 100


def test_the_work_for_a_visitor_ends_when_the_page_is_closed(open_page, served):
    visitor = open_page()
    before = len(served.page.visitors)
    assert before >= 1
    visitor.page.goto('about:blank')
    visitor.wait_until(lambda: len(served.page.visitors) < before)


@pytest.fixture
def proxied(served):
    """The address of a page below a path of a proxy."""
    page = build_page(served.setup)
    inner = serve(page, Address(port=0, root_path='/groupvit'))
    port = free_port('127.0.0.1', 0)

    async def forward(request):
        target = f'{inner}{request.path_params["path"]}?{request.url.query}'
        headers = {key: value for key, value in request.headers.items() if key != 'host'}
        client = httpx.AsyncClient(timeout=60)
        answer = await client.send(
            client.build_request(
                request.method, target, headers=headers, content=await request.body()
            ),
            stream=True,
        )
        dropped = ('content-length', 'transfer-encoding')
        kept = {key: value for key, value in answer.headers.items() if key not in dropped}
        return StreamingResponse(answer.aiter_raw(), answer.status_code, kept)

    route = Route('/groupvit/{path:path}', forward, methods=['GET', 'POST'])
    config = uvicorn.Config(Starlette(routes=[route]), port=port, log_level='error')
    proxy = uvicorn.Server(config)
    thread = threading.Thread(target=proxy.run, daemon=True)
    thread.start()
    yield f'http://127.0.0.1:{port}/groupvit/'
    proxy.should_exit = True
    thread.join(10)
    page.blocks.close(verbose=False)


@pytest.mark.slow
def test_the_page_works_below_a_path_of_a_proxy(chromium, proxied):
    context = chromium.new_context()
    try:
        page = context.new_page()
        hosts = set()
        page.on('request', lambda request: hosts.add(request.url[: len(proxied)]))
        page.goto(proxied)
        page.locator('.stage-image[src]').wait_for()
        page.get_by_role('button', name='Photograph: cow').click()
        page.locator('.view', has_text='Picture').click()
        page.locator('.stage-caption', has_text='cow.png').wait_for()
        assert {host for host in hosts if not host.startswith('data:')} == {proxied}
    finally:
        context.close()
