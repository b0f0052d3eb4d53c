"""`reid-gallery compare`."""

from __future__ import annotations


def compare(
    models: list[str],
    *,
    data: list[str],
    out: str = "comparison",
    batch_size: int = 32,
    device: str = "auto",
    tracking_uri: str | None = None,
) -> int:
    """Compare models on data sets: mAP and Rank-1 with paired tests, speed and size.

    Writes comparison.md, comparison.html, comparison.png and comparison.json. A model trained on one data set
    and tried on the others shows how it does on people and cameras that it has not seen.

    Args:
        models: model folders, or exported files with a config.json beside them; each is tested against the
            first.
        data: data sets to try them on: manifest files with queries and gallery, folders of persons, or
            READER:FOLDER (`reid-data list` prints the readers).
        out: folder to write the tables and the page to.
        batch_size: images that are embedded at a time.
        device: where models run: auto (a GPU if there is one), cpu or cuda; exported ones run on the CPU.
        tracking_uri: MLflow store to log to, such as sqlite:///runs/mlflow.db; nothing is logged without.
    """
    import json
    from pathlib import Path

    from reid_core.files import atomic, write_atomically
    from reid_eval.report import write_report
    from reid_gallery.comparison import compare_models, figure, markdown, metrics
    from reid_gallery.data_sets import read_data_set

    sets = [read_data_set(source) for source in data]
    names = [one.name for one in sets]
    if len(set(names)) < len(names):
        raise ValueError(f"data sets {', '.join(names)}: two have one name; rename a folder or manifest file")
    folder = Path(out)
    comparison = compare_models(models, sets, batch_size, device)
    drawing = figure(comparison)
    with atomic(folder / "comparison.png") as temporary:
        drawing.savefig(temporary, dpi=150)
    write_atomically(folder / "comparison.json", json.dumps(comparison.to_dict(), indent=1) + "\n")
    write_report(
        folder / "comparison.html",
        comparison.results,
        title="Comparison of models",
        details={
            model.name: f"{model.images_per_second:.1f} images/s, {model.megabytes:.1f} MB, trained on "
            f"{', '.join(model.training_data)}"
            for model in comparison.models
        }
        | {"machine": comparison.machine},
        figures={"mAP against images/s; the area of a point grows with the model's size": drawing},
    )
    text = markdown(comparison)
    write_atomically(folder / "comparison.md", text)
    if tracking_uri:
        from reid_core.tracking import Tracker

        with Tracker.start("reid-gallery", "compare", folder, tracking_uri, program="reid-gallery") as run:
            run.params({"models": models, "data": data, "batch_size": batch_size, "device": device})
            run.metrics(metrics(comparison))
            for name in ("comparison.md", "comparison.html", "comparison.png", "comparison.json"):
                run.artifact(folder / name)
    print(f"\n{text}\n{folder}")
    return 0
