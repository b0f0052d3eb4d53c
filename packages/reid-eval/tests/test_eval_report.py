"""The report holds the result's numbers, escapes texts, embeds pictures and asks for nothing else."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from reid_eval import evaluate
from reid_eval.cameras import camera_pairs
from reid_eval.comparison import compare_results, intervals
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
    # title, heading, rows (2), details (2), figure, list, captions (3), note
    assert page.text.count(bad) == 12
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


def test_models_of_a_task_have_intervals_and_their_gain_over_the_first(tmp_path):
    results = {"image": {"before": result(0), "after": result(1)}}
    text = write_report(tmp_path / "r.html", results).read_text()
    table = text[text.index("<table id=intervals>") : text.index("</table>")]
    assert [re.sub(r"<.*?>", "", row) for row in re.findall(r"<th scope=row>(.*?)</th>", table)] == [
        *("image, before", "image, after"),
        "gain over before",
    ]
    rows = {row.metric: row for row in compare_results(result(0), result(1), paired=True)}
    assert f"{100 * rows['mAP'].difference.value:+.1f} (" in table and f"p = {rows['mAP'].p:.4f}" in table
    assert "<h2>Models and their uncertainty, %</h2>" in text


def test_one_result_has_its_intervals_and_gains_over_nothing(tmp_path):
    text = write_report(tmp_path / "r.html", {"mine": result()}).read_text()
    (interval,) = intervals(result(), ["mAP"]).values()
    assert f"({100 * interval.low:.1f}, {100 * interval.high:.1f})" in text and "gain over" not in text


def test_pairs_of_cameras_are_evaluated_alone_and_shown(tmp_path):
    rng = np.random.default_rng(0)
    pids, camids = np.repeat(np.arange(6), 3), np.tile([1, 2, 3], 6)
    sides = {f"{side}_pids": pids for side in ("query", "gallery")}
    sides |= {f"{side}_camids": camids for side in ("query", "gallery")}
    sides |= {f"{side}_features": rng.normal(size=(18, 4)) for side in ("query", "gallery")}
    sides["query_columns"] = sides["gallery_columns"] = {"platform": camids}
    pairs = camera_pairs(sides)
    one, other = camids == 1, camids == 3
    alone = evaluate(
        sides["query_features"][one], sides["gallery_features"][other], pids[one], pids[other],
        camids[one], camids[other],
    )  # fmt: skip
    assert pairs.mAP[0, 2] == alone.mAP and pairs.rank_1[0, 2] == alone.cmc[1]
    assert np.isnan(np.diag(pairs.mAP)).all() and pairs.queries.tolist() == (6 - 6 * np.eye(3)).tolist()
    text = write_report(tmp_path / "r.html", {"a": alone}, cameras={"Cameras": pairs}).read_text()
    assert f"{100 * alone.mAP:.1f} / {100 * alone.cmc[1]:.1f}" in text and "from camera 1" in text


def test_pairs_of_cameras_need_camera_ids():
    with pytest.raises(ValueError, match="query_camids and gallery_camids"):
        camera_pairs({"query_features": np.eye(2)})
