"""The report in headless Chromium, opened from disk and watched over its debugging protocol."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import time
import urllib.request

import numpy as np
import pytest

from reid_eval import evaluate
from reid_eval.cameras import camera_pairs
from reid_eval.figures import cmc_figure
from reid_eval.report import Answer, RankedQuery, write_report
from reid_eval.report_tables import format_value

aiohttp = pytest.importorskip("aiohttp", reason="aiohttp is needed to drive Chromium")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECONDS = 90

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not on PATH: install Debian's chromium"),
]

CELLS = (
    "[...document.querySelectorAll('#metrics td')].map(c => [c.dataset.metric, c.dataset.value, c.innerText])"
)
IMAGES = "[...document.images].map(image => image.naturalWidth)"
CONTRASTS = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const over = ([r, g, b, a = 1], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
  const light = rgb => {
    const [r, g, b] = rgb.map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = node => {
    if (!node) return [255, 255, 255];
    return over(parse(getComputedStyle(node).backgroundColor), ground(node.parentElement));
  };
  const found = {};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const node = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim()) continue;
    const back = ground(node), front = over(parse(getComputedStyle(node).color), back);
    const [high, low] = [light(front), light(back)].sort((a, b) => b - a);
    found[texts.currentNode.data.trim()] = (high + 0.05) / (low + 0.05);
  }
  return found;
})()
"""
"""Text -> contrast with what is behind it, as WCAG 2 defines it."""
AA = 4.5
"""Least contrast of text, level AA of WCAG 2."""
PHONE = 375
"""Width of a small phone, CSS pixels."""


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A function from address, script and a phone's width to the value, and what the page asked for."""
    profile = tmp_path_factory.mktemp("chromium")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    flags += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    browser = subprocess.Popen(
        [CHROMIUM, *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    note = profile / "DevToolsActivePort"
    try:
        deadline = time.monotonic() + SECONDS
        while not (note.exists() and len(note.read_text().splitlines()) == 2):
            assert time.monotonic() < deadline, f"Chromium did not start within {SECONDS} s"
            time.sleep(0.1)
        port = note.read_text().splitlines()[0]
        yield lambda address, script, width=None: asyncio.run(
            asyncio.wait_for(_open(port, address, script, width), SECONDS)
        )
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(browser.pid, 9)
        browser.wait()


async def _open(port, address, script, width):
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS))
    page = next(target for target in pages if target["type"] == "page")
    async with aiohttp.ClientSession() as session, session.ws_connect(page["webSocketDebuggerUrl"]) as socket:
        number, events = 0, []

        async def until(done):
            while not done(message := await socket.receive_json()):
                events.append(message)
            return message

        async def call(method, **params):
            nonlocal number
            number += 1
            await socket.send_json({"id": number, "method": method, "params": params})
            return (await until(lambda message: message.get("id") == number))["result"]

        await call("Page.enable")
        if width is not None:
            screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
            await call("Emulation.setDeviceMetricsOverride", **screen)
        else:
            await call("Emulation.clearDeviceMetricsOverride")
        await call("Network.enable")
        await call("Page.navigate", url=address)
        if not any(event.get("method") == "Page.loadEventFired" for event in events):
            await until(lambda message: message.get("method") == "Page.loadEventFired")
        answer = await call("Runtime.evaluate", expression=script, returnByValue=True)
    asked = [
        event["params"]["request"]["url"]
        for event in events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    return answer["result"]["value"], asked


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    rng = np.random.default_rng(0)
    pids, zero = rng.integers(1, 9, 40), np.zeros(40, int)
    result = evaluate(
        rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), pids, pids, zero, zero + 1, far=(1e-2, 1e-1)
    )
    grey = np.full((64, 32, 3), 127, np.uint8)
    sides = {
        f"{side}_{name}": value
        for side in ("query", "gallery")
        for name, value in (
            ("features", rng.normal(size=(40, 4))),
            ("pids", pids),
            ("camids", rng.integers(1, 9, 40)),
        )
    }
    path = write_report(
        tmp_path_factory.mktemp("report") / "report.html",
        {"image": result},
        figures={"CMC": cmc_figure({"image": result})},
        lists={"Worst queries": [RankedQuery(grey, "person 1", [Answer(grey, True), Answer(grey, False)])]},
        cameras={"From camera to camera": camera_pairs(sides)},
    )
    return path, result


def test_the_table_shows_the_result(opened, report):
    path, result = report
    cells, _ = opened(path.as_uri(), CELLS)
    assert cells == [[name, str(value), format_value(value)] for name, value in result.summary().items()]
    assert {name: whole for name, whole, _ in cells}["mAP"] == repr(result.mAP)


def test_every_picture_is_shown_and_nothing_is_loaded_but_the_page(opened, report):
    path, _ = report
    widths, asked = opened(path.as_uri(), IMAGES)
    assert len(widths) == 4 and all(widths)
    assert [address for address in asked if not address.startswith("data:")] == [path.as_uri()]


def test_every_text_has_the_contrast_of_level_aa(opened, report):
    found, _ = opened(report[0].as_uri(), CONTRASTS)
    assert len(found) > 50 and {text: ratio for text, ratio in found.items() if ratio < AA} == {}


def test_a_pale_text_would_be_noticed(opened, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<body><p style="color: #999">pale<p style="background: rgb(0 0 0 / .1)">dark')
    found, _ = opened(page.as_uri(), CONTRASTS)
    assert found["pale"] == pytest.approx(2.85, abs=0.01) and found["dark"] == pytest.approx(16.7, abs=0.1)


def test_it_opens_at_the_width_of_a_phone_and_wide_tables_scroll_by_themselves(opened, report):
    script = (
        "[document.scrollingElement.scrollWidth, innerWidth, document.querySelector('.wide').scrollWidth]"
    )
    (page, phone, _), _ = opened(report[0].as_uri(), script, PHONE)
    assert phone == PHONE and page <= PHONE
    regions = "[...document.querySelectorAll('.wide, .ranked')].map(node => [node.tabIndex, node.ariaLabel])"
    found, _ = opened(report[0].as_uri(), regions)
    assert found and all(index == 0 and label for index, label in found)  # a keyboard scrolls them, too


def test_headings_go_down_one_level_and_pictures_and_cells_say_what_they_are(opened, report):
    headings = "[...document.querySelectorAll('h1, h2, h3')].map(node => [node.tagName, node.innerText])"
    found, _ = opened(report[0].as_uri(), headings)
    assert [level for level, _ in found] == ["H1"] + ["H2"] * (len(found) - 1)
    names = {text for _, text in found}
    assert {"Models and their uncertainty, %", "From camera to camera", "Figures", "Worst queries"} <= names
    texts, _ = opened(report[0].as_uri(), "[...document.images].map(image => image.alt)")
    assert texts == ["CMC", "query: person 1", "answer 1, right", "answer 2, wrong"]
    scopes, _ = opened(report[0].as_uri(), "[...document.querySelectorAll('th')].every(cell => cell.scope)")
    assert scopes


def test_a_page_that_loads_something_would_be_noticed(opened, tmp_path):
    page = tmp_path / "page.html"
    page.write_text('<img src="other.png"><img src="http://127.0.0.1:9/far.png">')
    _, asked = opened(page.as_uri(), IMAGES)
    assert {(tmp_path / "other.png").as_uri(), "http://127.0.0.1:9/far.png"} <= set(asked)
