"""The page of ranked lists in headless Chromium: by keyboard, on a phone, and with hostile names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reid_gallery.page import make_thumbnail, write_page

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 90
HOSTILE = [
    '<img src=x onerror="window.hit=1">',
    '"><script>window.hit=1</script>',
    "' onfocus='window.hit=1' autofocus tabindex='0",
    "javascript:window.hit=1",
    "</figcaption><iframe src='http://127.0.0.1:1/'></iframe>",
    "Zoë \u202e drawkcab " + "x" * 200,
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium"),
]


@pytest.fixture(scope="module")
def page(people: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page of two queries, whose answers' names try to be markup."""
    images = sorted(people.rglob("*.png"))[: len(HOSTILE)]
    answers = [
        {
            "rank": rank,
            "number": rank,
            "file": f"{image}{name}",
            "path": f"{name}.png",
            "person": name,
            "camid": rank,
            "score": 0.5,
            "probability": 0.25,
            "far": None,
            "decision": None,
        }
        for rank, (image, name) in enumerate(zip(images, HOSTILE, strict=True), 1)
    ]
    thumbnails = {
        answer["file"]: make_thumbnail(str(image)) for answer, image in zip(answers, images, strict=True)
    }
    results: list[dict[str, Any]] = [
        {"query": f"/{HOSTILE[0]}.png", "nobody": False, "answers": answers},
        {"query": f"/{HOSTILE[1]}.png", "nobody": True, "answers": answers[:2]},
        {"query": "/broken.png", "error": f"can't be read {HOSTILE[1]}"},
    ]
    file = tmp_path_factory.mktemp("page") / "page.html"
    write_page(file, results, {name: jpeg for name, jpeg in thumbnails.items() if jpeg}, HOSTILE[1])
    return file.as_uri()


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where headless Chromium listens."""
    profile = tmp_path_factory.mktemp("chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"]
    running = subprocess.Popen(
        [str(CHROMIUM), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        note, deadline = profile / "DevToolsActivePort", time.monotonic() + SECONDS
        while not (note.exists() and len(note.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, "Chromium did not start"
            time.sleep(0.1)
        yield note.read_text().splitlines()[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, 9)
        running.wait()


def visit(port: str, address: str, steps: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    """Open a page and run commands of the debugging protocol; what each expression gave."""
    return asyncio.run(asyncio.wait_for(_visit(port, address, steps), SECONDS))


async def _visit(port: str, address: str, steps: list[tuple[str, dict[str, Any]]]) -> list[Any]:
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
    target = next(page for page in pages if page["type"] == "page")["webSocketDebuggerUrl"]
    async with aiohttp.ClientSession() as session, session.ws_connect(target) as socket:
        number = 0

        async def call(method: str, **params: Any) -> dict[str, Any]:
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": params})
            while (answer := await socket.receive_json()).get("id") != number:
                pass
            return answer["result"]

        await call("Emulation.clearDeviceMetricsOverride")
        await call("Page.navigate", url=address)
        while not (await call("Runtime.evaluate", expression="document.readyState == 'complete'"))[
            "result"
        ].get("value"):
            await asyncio.sleep(0.05)
        found = []
        for method, params in steps:
            answer = await call(method, **params)
            if method == "Runtime.evaluate":
                found.append(answer["result"].get("value"))
        return found


def ask(expression: str) -> tuple[str, dict[str, Any]]:
    return "Runtime.evaluate", {"expression": expression, "returnByValue": True}


def press(key: str, code: int, modifiers: int = 0) -> list[tuple[str, dict[str, Any]]]:
    keys = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": modifiers}
    return [("Input.dispatchKeyEvent", {"type": kind, **keys}) for kind in ("rawKeyDown", "keyUp")]


def test_every_query_and_answer_is_reached_by_tab_and_shows_its_focus(port: str, page: str) -> None:
    focus = "document.activeElement"
    shown = f"getComputedStyle({focus}).outlineStyle"
    steps = [step for _ in range(11) for step in (*press("Tab", 9), ask(f"{focus}.tagName"), ask(shown))]
    found = visit(port, page, steps)
    assert found[::2] == ["A"] * 3 + ["FIGURE"] * 8
    assert set(found[1::2]) == {"solid"}


def test_the_arrow_keys_go_from_answer_to_answer_and_stop_at_the_ends(port: str, page: str) -> None:
    place = ask("[...document.querySelectorAll('figure[tabindex]')].indexOf(document.activeElement)")
    first = ask("document.querySelector('figure[tabindex]').focus()")
    right, left = press("ArrowRight", 39), press("ArrowLeft", 37)
    found = visit(port, page, [first, *right, place, *right, place, *left, place, *left, *left, place])
    assert found[1:] == [1, 2, 1, 0]


def test_pictures_and_lists_have_names_for_screen_readers(port: str, page: str) -> None:
    unnamed = "[...document.querySelectorAll('img, [role=img]')].filter(e => !(e.alt || e.ariaLabel)).length"
    labels = "[...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute("
    found = visit(
        port, page, [ask(unnamed), ask(f"{labels}'aria-labelledby')).innerText)"), ask("document.title")]
    )
    assert found == [0, True, HOSTILE[1]]


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_nothing_is_wider_than_the_screen(port: str, page: str, width: int) -> None:
    screen = {"width": width, "height": 700, "deviceScaleFactor": 2, "mobile": width < 500}
    wider = ask("document.documentElement.scrollWidth <= window.innerWidth")
    out = ask(
        "[...document.querySelectorAll('figure, a, h2')]"
        ".every(e => e.getBoundingClientRect().right <= innerWidth)"
    )
    seen = ask("innerWidth")
    assert visit(port, page, [("Emulation.setDeviceMetricsOverride", screen), seen, wider, out]) == [
        *(width, True, True)
    ]


@pytest.mark.faults
def test_names_are_text_and_run_nothing(port: str, page: str) -> None:
    strangers = (
        "document.querySelectorAll('iframe, img:not([src^=\"data:\"]), script:not(:last-child)').length"
    )
    named = "[...document.querySelectorAll('section:first-of-type figcaption b')].map(e => e.innerText)"
    attributes = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
    handlers = f"{attributes}.filter(n => n.startsWith('on'))"
    focused = "document.querySelectorAll('[autofocus]').length"
    hit, foreign, names, events, focus = visit(
        port, page, [ask("window.hit"), ask(strangers), ask(named), ask(handlers), ask(focused)]
    )
    assert (hit, foreign, events, focus) == (None, 0, [], 0)
    assert names == [f"{rank}. {name}" for rank, name in enumerate(HOSTILE, 1)]


def test_the_policy_refuses_what_the_page_does_not_hold(port: str, page: str) -> None:
    inject = """
      const script = document.createElement("script"); script.textContent = "window.hit = 2";
      document.body.append(script); window.hit === undefined"""
    fetched = "fetch('http://127.0.0.1:1/').then(() => 'reached', error => 'refused')"
    asking = ("Runtime.evaluate", {"expression": fetched, "awaitPromise": True, "returnByValue": True})
    loaded = ask("performance.getEntriesByType('resource').filter(e => !e.name.startsWith('data:')).length")
    assert visit(port, page, [ask(inject), loaded, asking]) == [True, 0, "refused"]
