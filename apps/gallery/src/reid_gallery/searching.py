"""Query images to answers: path, person, score, probability."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from reid_gallery.calibration import Calibration
from reid_gallery.gallery import Gallery, lock_gallery
from reid_gallery.log import DECISIONS, SEARCHES, append, read_log
from reid_gallery.model import calibration_file, load_model, model_digest
from reid_gallery.page import make_thumbnail, thumbnail_file, write_page


@dataclass(frozen=True)
class Options:
    """How a gallery is searched.

    Args:
        k: answers per query.
        model: of the queries; None for the gallery's own, where it was.
        calibration: file; None for the one in the model's folder, if there is one.
        camera: of the queries; None where unknown.
        prior: share of the gallery's rows that show a query's person; None for one person of those there.
        fpir: rate of "nobody here"; None for the lowest that was calibrated.
        device: where the model runs.
        page: HTML file to write; None for none.
        log: whether the search is kept in the gallery's log.
    """

    k: int = 10
    model: str | None = None
    calibration: str | None = None
    camera: int | None = None
    prior: float | None = None
    fpir: float | None = None
    device: str = "auto"
    page: str | None = None
    log: bool = True


def search_gallery(folder: str | Path, queries: Sequence[str], options: Options) -> list[dict[str, Any]]:
    """Search a gallery, log the search, and write a page where one is asked for.

    Args:
        folder: the gallery.
        queries: image files.
        options: how.

    Returns:
        Of each query a plain dict: query, nobody (None without a calibration), and answers of rank, path,
        file, person, camid, score, probability, far (the lowest calibrated rate whose threshold the score
        reaches) and decision. A query that can't be read has "error" in place of answers.

    Raises:
        ValueError: another model than the gallery's, a calibration of another model, or an option that can't
            be.
    """
    if options.k < 1 or (options.prior is not None and not 0 < options.prior < 1):
        raise ValueError(
            f"k={options.k}, prior={options.prior}: expected 1 or more, and a share within 0 to 1"
        )
    gallery = Gallery(folder)
    facts = gallery.facts
    source = options.model or facts.model
    embedder = load_model(source, facts.preprocessing)
    if model_digest(embedder) != facts.digest:
        raise ValueError(f"{source} is another model than that of {folder}: embed the gallery again")
    calibration = find_calibration(options.calibration, source, facts.digest)
    files = [os.path.abspath(query) for query in queries]
    features, valid = embedder.embed(files, device=options.device, errors="mask")
    numbers, scores = gallery.search(features, options.k + 1)  # one may be the query's own image
    decisions = {
        (entry.get("query"), entry.get("person")): entry.get("decision")
        for entry in read_log(gallery.folder / DECISIONS)
    }
    results: list[dict[str, Any]] = []
    for row, file in enumerate(files):
        if not valid[row]:
            results.append({"query": file, "error": "can't be read as an image"})
            continue
        there = [(int(n), float(s)) for n, s in zip(numbers[row], scores[row], strict=True) if n >= 0]
        known = [({**gallery.row(number)}, score) for number, score in there]
        known = [(answer, score) for answer, score in known if answer["file"] != file][: options.k]
        answers = [
            {
                "rank": rank,
                **answer,
                "score": round(score, 6),
                **_meaning(calibration, score, answer["camid"], options, gallery.people),
                "decision": decisions.get((file, answer["person"])),
            }
            for rank, (answer, score) in enumerate(known, 1)
        ]
        best = max((score for _, score in known), default=-np.inf)
        results.append({"query": file, "nobody": _is_nobody(calibration, best, options), "answers": answers})
    page = os.path.abspath(options.page) if options.page else None
    if page is not None:
        with lock_gallery(gallery.folder):
            write_page(
                page, results, _thumbnails(gallery.folder, results), f"Search in {gallery.folder.name}"
            )
    if options.log:
        with lock_gallery(gallery.folder):
            append(
                gallery.folder / SEARCHES,
                [{"query": file, "answers": options.k, "page": page} for file in files],
            )
    return results


def find_calibration(file: str | None, model: str, digest: str) -> Calibration | None:
    """The calibration that a search uses, if there is one.

    Args:
        file: as given; None for the one in the model's folder.
        model: a model folder or an exported file.
        digest: of the model.

    Raises:
        ValueError: it is of another model, or damaged.
    """
    path = Path(file) if file else calibration_file(model)
    if file is None and not path.is_file():
        return None
    calibration = Calibration.load(path)
    if calibration.digest != digest:
        if file is None:  # beside an exported file may lie that of another
            return None
        raise ValueError(f"{path} is of another model than the gallery: calibrate on its own features")
    return calibration


def _meaning(
    calibration: Calibration | None, score: float, camid: int, options: Options, people: int
) -> dict[str, Any]:
    if calibration is None:
        return {"probability": None, "far": None}
    prior = options.prior or 1 / max(2, people)
    thresholds = calibration.thresholds
    if options.camera is not None:
        low, high = sorted((options.camera, camid))
        thresholds = calibration.cameras.get(f"{low}-{high}", thresholds)
    reached = [one.far for one in thresholds if score >= one.threshold]
    return {
        "probability": round(float(calibration.probability(score, prior)), 6),
        "far": min(reached, default=None),
    }


def _is_nobody(calibration: Calibration | None, best: float, options: Options) -> bool | None:
    known = calibration.nobody if calibration is not None else ()
    wanted = [one for one in known if options.fpir is None or one.fpir == options.fpir]
    if options.fpir is not None and not wanted:
        raise ValueError(
            f"fpir={options.fpir} was not calibrated; there are {[one.fpir for one in known]}: "
            f"run `reid-gallery calibrate` with --fpir [{options.fpir}]"
        )
    return best < min(wanted, key=lambda one: one.fpir).threshold if wanted else None


def _thumbnails(folder: Path, results: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    found: dict[str, bytes | None] = {}
    for result in results:
        found[result["query"]] = make_thumbnail(result["query"])
        for answer in result.get("answers", ()):
            kept = thumbnail_file(folder, answer["number"])
            found[answer["file"]] = make_thumbnail(answer["file"], kept)
    return {file: jpeg for file, jpeg in found.items() if jpeg is not None}
