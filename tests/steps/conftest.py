"""Pages of halcmd in a real browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page from its file; whatever the browser complains about fails the test.

    ``again``: in the browser's window of an earlier page. ``dialogs=True``: the test answers them.
    """
    complaints: list[str] = []
    contexts = []

    def answered(dialog: Any) -> None:
        if dialog.type != "beforeunload":  # which a test that leaves an unsaved page brings about
            complaints.append(dialog.message)
        dialog.accept()

    def opened(
        path: Path,
        scheme: str = "light",
        *,
        width: int = 1366,
        height: int = 650,  # what a browser leaves of a laptop's 1366 x 768
        again: Any = None,
        dialogs: bool = False,
    ) -> Any:
        screen = {"width": width, "height": height}
        context = again or browser.new_context(color_scheme=scheme, viewport=screen)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(f"{message.type} {message.text}"))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: r.url.startswith("http") and complaints.append(r.url))
        if not dialogs:
            page.on("dialog", answered)
        page.goto(path.resolve().as_uri())
        return page

    yield opened
    for context in dict.fromkeys(contexts):
        context.close()
    assert complaints == []
