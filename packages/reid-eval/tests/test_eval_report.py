"""The report holds the result's numbers, escapes texts, embeds pictures and asks for nothing else."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from reid_eval import evaluate
from reid_eval.figures import cmc_figure
from reid_eval.report import Answer, RankedQuery, extreme_queries, write_report

GREY = np.full((64, 32, 3), 127, np.uint8)


def result(seed=0):
    rng = np.random.default_rng(seed)
    pids = rng.integers(1, 9, 40)
    zero = np.zeros(40, int)
    return evaluate(rng.normal(size=(40, 4)), rng.normal(size=(40, 4)), pids, pids, zero, zero + 1)


class Page(HTMLParser):
    """Tags with their attributes, and the table's cells by metric."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.text, self.metric = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.metric = dict(attributes).get("data-metric")

    def handle_data(self, data):
        self.text += data
        if self.metric:
            self.cells.append((self.metric, self.tags[-1][1]["data-value"], data))
            self.metric = None


def test_the_table_holds_every_metric_of_every_result_in_full_and_rounded(tmp_path):
    results = {"image": result(0), "video": result(1)}
    page = Page(write_report(tmp_path / "a" / "report.html", results).read_text())
    expected = [pair for found in results.values() for pair in found.summary().items()]
    assert [(metric, whole) for metric, whole, _ in page.cells] == [
        (name, str(value)) for name, value in expected
    ]
    rounded = {text for metric, _, text in page.cells if metric == "mAP"}
    assert rounded == {f"{100 * found.mAP:.1f}" for found in results.values()}
    assert [file.name for file in (tmp_path / "a").iterdir()] == ["report.html"]


def test_nothing_is_named_that_a_browser_would_fetch(tmp_path):
    lists = {"Worst": [RankedQuery(GREY, "q", [Answer(GREY, True)])]}
    figures = {"CMC": cmc_figure({"a": result()})}
    text = write_report(tmp_path / "r.html", {"a": result()}, figures=figures, lists=lists).read_text()
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "embed", "base"})
    sources = [attributes["src"] for _, attributes in page.tags if "src" in attributes]
    assert len(sources) == 3 and all(source.startswith("data:image/") for source in sources)
    assert not re.search(r"url\(|@import|href=|srcset=", text)


def test_every_text_is_escaped(tmp_path):
    bad = "<script>alert(1)</script>\"'&"
    text = write_report(
        tmp_path / "r.html",
        {bad: result()},
        title=bad,
        details={bad: bad},
        figures={bad: cmc_figure({"a": result()})},
        lists={bad: [RankedQuery(GREY, bad, [Answer(GREY, False, bad), Answer(f"/{bad}", False, bad)])]},
    ).read_text()
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(bad) == 11  # title, heading, row, detail (2), figure, list, captions (3), note
    assert bad in [attributes.get("alt") for _, attributes in page.tags]


def test_right_and_wrong_differ_by_a_sign_too(tmp_path):
    answers = [Answer(GREY, right) for right in (True, False, True)]
    lists = {"Worst": [RankedQuery(GREY, "person 1", answers)]}
    text = Page(write_report(tmp_path / "r.html", {"a": result()}, lists=lists).read_text()).text
    assert re.findall("[✓✗] [0-9]", text) == ["✓ 1", "✗ 2", "✓ 3"]


def test_pictures_that_cannot_be_read_are_counted_and_the_rest_is_there(tmp_path, caplog):
    Image.fromarray(GREY).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:60])
    answers = [Answer(tmp_path / name, True) for name in ("good.png", "bad.png", "none.png")]
    page = Page(
        write_report(
            tmp_path / "r.html", {"a": result()}, lists={"Worst": [RankedQuery(GREY, "", answers)]}
        ).read_text()
    )
    assert "2 pictures could not be read" in page.text and "bad.png" in page.text
    assert "2 pictures could not be read" in caplog.text
    assert sum(tag == "img" for tag, _ in page.tags) == 2


def test_extremes_are_the_queries_of_lowest_and_highest_precision():
    found = result()
    worst, best = extreme_queries(found, 3)
    precision = dict(zip(found.valid_queries, found.ap, strict=True))
    ascending = sorted(precision.values())
    assert [precision[row] for row in worst] == ascending[:3]
    assert [precision[row] for row in best] == ascending[:-4:-1]


def test_a_report_of_nothing_or_of_no_image_is_refused_and_not_written(tmp_path):
    with pytest.raises(ValueError, match="at least one result"):
        write_report(tmp_path / "r.html", {})
    with pytest.raises(ValueError, match="float64 of shape"):
        write_report(tmp_path / "r.html", {"a": result()}, lists={"": [RankedQuery(GREY / 255, "", [])]})
    assert not list(tmp_path.iterdir())
