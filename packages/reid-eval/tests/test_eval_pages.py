"""Pages of a whole evaluation: each task and model is in them; the summary has a typical query."""

import numpy as np
import pytest
from PIL import Image

from reid_eval import evaluate
from reid_eval.pages import write_pages
from reid_eval.retrieval import Retrieval
from reid_eval.summary import summary_figure

GREY = np.full((32, 16, 3), 127, np.uint8)


def retrieval(seed, noise, asked=None):
    """What a model with noisy features did; pictures that are looked up are noted."""
    rng = np.random.default_rng(seed)
    pids, camids = np.repeat(np.arange(6), 2), np.tile([1, 2], 6)
    features = np.eye(6)[pids] + noise * rng.normal(size=(12, 6))
    sides = {}
    for side, rows in (("query", camids == 1), ("gallery", camids == 2)):
        sides |= {f"{side}_features": features[rows], f"{side}_pids": pids[rows]}
        sides[f"{side}_camids"] = camids[rows]

    def picture(row):
        if asked is not None:
            asked.append(row)
        return GREY

    return Retrieval(evaluate(**sides), sides, picture, lambda row: GREY)


def tasks():
    return {
        task: {"scratch": retrieval(number, 1.0), "pre-trained": retrieval(number, 0.3)}
        for number, task in enumerate(("image", "image-to-video"))
    }


def test_every_task_and_model_is_in_the_report_and_each_task_has_a_ranked_list(tmp_path):
    files = write_pages(tmp_path, tasks(), title="Mine", details={"data": "toy"}, queries=2, answers=3)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "figures/cmc.png",
        "figures/summary.png",
        "figures/ranked_image.png",
        "figures/ranked_image_to_video.png",
        "report.html",
    ]
    for file in files[:-1]:
        with Image.open(file) as picture:
            assert min(picture.size) > 200
    text = files[-1].read_text()
    for task in tasks():
        for model in ("scratch", "pre-trained"):
            assert f">{task}, {model}</th>" in text
        for section in ("from camera to camera", "worst queries", "best queries"):
            assert section not in text or f"{task}, pre-trained: {section}" in text
    assert "image, pre-trained: worst queries" in text and "gain over scratch" in text


def test_the_summary_shows_the_query_whose_precision_is_nearest_to_the_means():
    asked = []
    one, other = retrieval(0, 1.0, asked), retrieval(0, 0.5, asked)
    distances = [abs(each.result.ap - each.result.mAP) for each in (one, other)]
    figure = summary_figure({"image": {"scratch": one, "pre-trained": other}}, answers=3)
    assert set(asked) == {int(other.result.valid_queries[np.argmin(distances[0] + distances[1])])}
    heights = [bar.get_height() for bar in figure.subfigs[0].axes[0].patches]
    assert heights == [100 * one.result.mAP, 100 * other.result.mAP]


def test_pages_of_nothing_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="at least one task"):
        write_pages(tmp_path / "x", {"image": {}}, title="Mine")
    assert not (tmp_path / "x").exists()
