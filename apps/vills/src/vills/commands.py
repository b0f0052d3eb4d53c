"""Further commands: figures of models and runs that are there already."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from reid_core.cli.recipes import Parser


def attention_parser() -> ArgumentParser:
    """Options of `vills attention`."""
    parser = partial(Parser, description="Attention of class token and queries (Fig. 3, Fig. S1).")()
    parser.add_argument(
        "--models",
        type=dict[str, str],
        required=True,
        help="name of a row of pictures -> model folder",
    )
    parser.add_argument("--images", type=list[str], default=[], help="image files to draw attention over")
    parser.add_argument("--clips", type=list[str], default=[], help="folders of a clip's frames")
    parser.add_argument("--out", type=str, required=True, help="folder to write to")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def attention(options: Any) -> int:
    """Draw what several models attend to in the same images and clips.

    Args:
        options: models, images, clips, out; it gets images.png and a picture per clip.

    Raises:
        ValueError: no images and no clips, a folder without images, or a model of another kind.
    """
    from reid_core.data.decoding import read_image
    from reid_core.data.frames import sample_frames
    from reid_core.models.folder import read_folder
    from reid_eval.figures import save_figure
    from vills.figures import draw_attention, resize_each

    if not options.images and not options.clips:
        raise ValueError("give --images, --clips or both")
    networks: dict[str, Any] = {}
    network: Any
    for name, folder in options.models.items():
        network, config = read_folder(Path(folder))
        if config.builder != "vills":
            raise ValueError(f"{folder} holds a model of {config.builder!r}; expected one of vills")
        networks[name] = network.extractor.model
    sizes = config.preprocessing
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    if options.images:
        pictures = resize_each(map(read_image, options.images), sizes.size)
        save_figure(draw_attention(networks, pictures), out / "images.png")
    for clip in map(Path, options.clips):
        files = sorted(file for file in clip.iterdir() if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
        if not files:
            raise ValueError(f"{clip} holds no .jpg or .png")
        places = sample_frames(len(files), sizes.frames or 1, "even").tolist()
        images = (read_image(files[place]) for place in places)
        frames = resize_each(images, sizes.frame_size or sizes.size)
        save_figure(draw_attention(networks, frames, clip=True), out / f"{clip.name}.png")
    return 0


def curves_parser() -> ArgumentParser:
    """Options of `vills curves`."""
    parser = partial(Parser, description="Accuracy per epoch of fine-tuning (Fig. S2).")()
    parser.add_argument("runs", type=str, nargs="+", help="run folders, runs/EXPERIMENT/NAME")
    parser.add_argument(
        "--metric",
        type=str,
        default="image/rank_1",
        help="task (image, video or image_to_video) and metric, such as video/mAP",
    )
    parser.add_argument("--out", type=str, required=True, help="picture to write: .png, .pdf or .svg")
    parser.add_argument("--traceback", action="store_true", help="show where an error came from")
    return parser


def curves(options: Any) -> int:
    """Draw the accuracy over fine-tuning of all models of some runs in one figure.

    Args:
        options: runs, metric, out.
    """
    from reid_eval.figures import save_figure
    from vills.figures import draw_curves

    results = {}
    for run in map(Path, options.runs):
        found = json.loads((run / "evaluate" / "results.json").read_text())
        for variant, scores in found.items():
            name = run.name if len(found) == 1 else f"{run.name}, {variant}"
            results[name] = scores.get("epochs", {})
    save_figure(draw_curves(results, options.metric), options.out)
    return 0
