"""`reid-gallery search`: whom images show."""

from __future__ import annotations


def search(
    gallery: str,
    queries: list[str],
    *,
    k: int = 10,
    model: str | None = None,
    calibration: str | None = None,
    camera: int | None = None,
    prior: float | None = None,
    fpir: float | None = None,
    device: str = "auto",
    html: str | None = None,
    log: bool = True,
) -> int:
    """Search a gallery; print a line of JSON per query: answers with path, person, score, probability.

    Who searched for which query and when is kept in GALLERY/searches.jsonl. An answer is a lead for a person
    to check, never a decision. The exit status is 1 where a query can't be read.

    Args:
        gallery: folder that `reid-gallery index` wrote
        queries: image files of the people to look for
        k: answers per query
        model: model folder or file, where the gallery's was moved
        calibration: file of `reid-gallery calibrate`; calibration.json in the model's folder by default
        camera: number of the queries' camera, for thresholds of pairs of cameras
        prior: share of the gallery, from 0 to 1, that shows a query's person; one person of those in it by
            default
        fpir: false positive rate whose threshold decides on "nobody here", one that was calibrated; the
            lowest by default
        device: where the model runs: auto (a GPU if there is one), cpu or cuda
        html: HTML file to write the ranked lists to
        log: keep the search in the gallery's log
    """
    import json

    from reid_gallery.searching import Options, search_gallery

    options = Options(k, model, calibration, camera, prior, fpir, device, html, log)
    results = search_gallery(gallery, queries, options)
    for result in results:
        print(json.dumps(result))
    return int(any("error" in result for result in results))
