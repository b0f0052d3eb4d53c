"""`reid-gallery embed`: the features of images or tracklets."""

from __future__ import annotations

from reid_core.options import Options

ALLOWED = 0.01
"""Share of the images that may be unreadable before the exit status is 1."""


def embed(
    source: str,
    *,
    model: str,
    out: str,
    root: str | None = None,
    options: Options | None = None,
    split: list[str] | None = None,
    tracklets: bool = False,
    preprocessing: Options | None = None,
    batch: int = 64,
    workers: int | None = None,
    devices: str = "auto",
    block: int = 1024,
    ray: str | None = None,
    allow_unreadable: float = ALLOWED,
) -> int:
    """Embed images or tracklets: OUT/rows.parquet, and one feature per row in OUT/features.npy.

    The same command resumes after being cut off and ends with the same bytes. What can't be decoded has a row
    of zeros, marked in OUT/features.valid.npy. What the storage does not give is asked for again by the same
    command.

    Args:
        source: folder of images (one folder per person, or unlabeled), manifest file, or data set's name (see
            `reid-data list`)
        model: model folder, hub's OWNER/NAME, or .onnx or .xml file
        out: folder to write to
        root: the data set's folder; for a manifest file, the folder of its paths
        options: the reader's options, such as --options.split 3
        split: only these splits, such as '[query, gallery]'
        tracklets: one feature per tracklet in place of one per image
        preprocessing: settings of an exported file without config.json, such as --preprocessing.max_value 255
        batch: images that the model is given at a time
        workers: threads that decode images, per device; as many as cores by default, 8 at most
        devices: where the model runs: auto (all GPUs, or the CPU), cpu, or names such as cuda:0,cuda:1
        block: rows per part that is written, and done again after a cut
        ray: address of a Ray cluster to work on, such as auto, or local to start one here
        allow_unreadable: share of the images, from 0 to 1, that may be unreadable; more makes the exit status
            1
    """
    from reid_gallery.embedding import Settings, embed_rows, read_source

    rows = read_source(source, root, options, split)
    settings = Settings(model, preprocessing or {}, tracklets, batch, workers, devices, block, ray)
    made = embed_rows(rows, out, settings)
    print(f"{out}: {made.images} features of {made.dim} numbers, {made.unreadable} unreadable")
    return int(made.unreadable > allow_unreadable * made.images)
