"""The browser, stages and pages of the tests of the live page."""

from contextlib import ExitStack

import pytest

from ops.fakes.browser import browser, until
from tests.browser.stage import DESKTOP, Stage


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture
def begin():
    """Return what opens a stage; all are closed at the end."""
    with ExitStack() as stack:

        def _begin(play=True, **more):
            stage = Stage(**more).open(play=play)
            stack.callback(stage.close)
            return stage

        yield _begin


@pytest.fixture
def stage(begin):
    return begin()


@pytest.fixture
def visit(chromium, begin):
    """Return what opens a page; whatever it complains of fails the test, unless taken away."""
    contexts, errors = [], []

    def _visit(stage, viewport=DESKTOP, drawn=True, **more):
        context = chromium.new_context(viewport=viewport, **more)
        contexts.append(context)
        page = context.new_page()
        page.errors = errors
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: errors.append(str(e)))
        page.goto(stage.address)
        if drawn:
            until(page, "performance.getEntriesByName('drawn').length")
        return page

    yield _visit
    for context in contexts:
        context.close()
    assert errors == []
