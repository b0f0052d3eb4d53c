"""`reid-gallery export`."""

from __future__ import annotations

from pathlib import Path

from reid_core.models.formats import Format, Precision


def export(
    model: str,
    out: str,
    *,
    format: Format = "onnx",
    precision: Precision = "fp32",
    tracklets: bool = False,
    data: str | None = None,
    calibration: str | None = None,
    batch_size: int = 64,
) -> int:
    """Export a model as ONNX, OpenVINO IR or TorchScript, and prove that it is as good.

    The folder holds the file, config.json, export.json (what was measured) and a model card that says it.

    Args:
        model: model folder, or a hub's id.
        out: folder to write the exported model to.
        format: onnx (extra onnx), openvino (extras onnx and openvino) or torchscript.
        precision: precision of the weights: fp32, fp16 or int8.
        tracklets: export clips, of a model that takes both images and clips; score tracklets where data
            has them.
        data: people to compare mAP on: a manifest file with queries and gallery, a folder of persons, or
            READER:FOLDER (`reid-data list` prints the readers).
        calibration: images that int8 takes ranges from, a manifest file or a folder of persons; by default
            the training images of --data.
        batch_size: images that are embedded at a time.
    """
    import json

    from reid_core.data.readers import is_manifest_file, read
    from reid_core.files import write_atomically
    from reid_core.models import Embedder, load
    from reid_core.models import export as write_export
    from reid_core.models.model_card import model_card
    from reid_gallery.data_sets import OWN, read_data_set
    from reid_gallery.proof import describe, prove

    people = read_data_set(data) if data else None
    images = None
    if precision == "int8":
        if calibration:
            images = read(calibration) if is_manifest_file(calibration) else read(OWN, calibration)
        elif people is not None and "train" in set(people.manifest.table["split"]):
            images = people.manifest.select("train")
        else:
            raise ValueError(
                "int8 takes ranges from images that are no test images: give a folder of persons or a "
                "manifest file with --calibration, or --data with a training split"
            )
    embedder = load(model)
    calibrating = [] if images is None else _spread(images.files)
    try:
        file = write_export(embedder, out, format, precision, tracklets=tracklets, calibration=calibrating)
    except ValueError as error:
        raise ValueError(f"{model}: {error}") from error
    exported = load(file)
    same = Embedder(embedder.model, exported.preprocessing, metric=embedder.metric, flip=embedder.flip)
    # People without tracklets are scored by images, each a clip of one repeated frame.
    whole = tracklets and people is not None and bool(people.manifest.tracklets())
    proof = prove(same, exported, file, people, batch_size, whole)
    assert exported.config is not None
    text = describe(proof, f"`{Path(model).name}` as {format}, {precision}")
    write_atomically(Path(out) / "README.md", model_card(exported.config, file.name, {"Export": text}))
    write_atomically(Path(out) / "export.json", json.dumps(proof.to_dict(), indent=1) + "\n")
    print(f"{file}\n{text}")
    return 0


def _spread(files: list[Path]) -> list[Path]:
    """As many as calibration uses, spread evenly: neighbours are the same person."""
    from reid_core.models.exporting import CALIBRATION

    step = max(1, len(files) // CALIBRATION)
    return files[::step][:CALIBRATION]
