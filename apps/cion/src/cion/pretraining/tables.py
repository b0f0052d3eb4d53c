"""The paper's tables and figures of supervised fine-tuning, as rows of settings beside its numbers.

Tables 1, 3 and 5 and Figs. 5, 6 and 7 are pictures: the text tells Tab. 1's ResNet50-IBN, Tab. 3's mean gains
and Fig. 5's last step (4.4), and Figs. 5 and 6 end in the last row of Tab. 4, which has the same backbone,
images and fine-tuning. Tab. 4's LUP is another method, and its row a checkpoint.
"""

from __future__ import annotations

from dataclasses import replace

from reid_core.models.backbones.zoo import ZOO
from reid_core.recipe import Row, Table

METRICS = ("mAP", "rank_1")
GAIN, MINUTES = "mAP_gain", "pretraining_minutes"
TITLES = {"market1501": "Market-1501", "msmt17": "MSMT17"}
DINO = {"market1501": (90.9, 96.3), "msmt17": (66.7, 85.8)}
CION = {"market1501": (93.3, 97.3), "msmt17": (74.3, 89.8)}
LUP = {"market1501": (91.4, 96.6), "msmt17": (68.2, 86.4)}
"""Tab. 4: mAP and Rank-1."""
CROSS_VIDEO_GAIN = {"market1501": 0.6, "msmt17": 1.9}
"""mAP that cross-video denoising adds to single-video denoising (4.4)."""
MEAN_GAIN = {"market1501": 11.7, "msmt17": 18.8}
"""mAP that CION adds to ImageNet's weights, mean over the 32 models (4.3)."""
RATIOS = (0.1, 0.25, 0.5, 0.75, 1.0)
IMAGES = 3_900_000
"""Of every pool of Fig. 5."""
PAPER = "apps/cion/configs/paper/resnet50_ibn.yaml"
ZOO_FILES = '--variants \'["weights: IMAGENET/{backbone}.pth", "weights: REIDZOO/{backbone}.pth"]\''


def _command(name: str, target: str, options: str) -> str:
    root = {"market1501": "MARKET", "msmt17": "MSMT17"}[target]
    config = f"--config {PAPER} --data.target.name {target} --data.target.root {root}"
    return f"cion ablate {name} {config} {options}"


def _row(title: str, variant: str, numbers: tuple[float, ...] = (), ratio: float = 1.0) -> Row:
    paper = dict(zip(METRICS, numbers, strict=False))
    return Row(title, {"variants": [variant], "pretrain.ratio": ratio}, paper)


def _tables(target: str) -> list[Table]:
    """The tables beside the paper's numbers on one data set."""
    title, best = TITLES[target], CION[target]
    of = f"(paper: ResNet50-IBN, MGN, {title})"
    suffix = "" if target == "market1501" else f"_{target}"
    video = (round(best[0] - CROSS_VIDEO_GAIN[target], 1),)
    levels = [
        _row("without denoising", "raw"),
        _row("single-tracklet", "tracklet"),
        _row("single-video", "video", video),
        _row("cross-video", "cross_video", best),
    ]
    methods = [
        _row("no pre-training", "none"),
        _row("DINO", "dino", DINO[target]),
        _row("CION", "cross_video", best),
    ]
    given = [
        _row("no pre-training", "none"),
        _row("LUP", "weights: LUP/{backbone}.pth", LUP[target]),
        _row("DINO", "dino", DINO[target]),
        _row("CION", "identities", best),
    ]
    supervised = [
        Row(
            "ResNet50-IBN, MGN",
            {"model.backbone": "resnet50_ibn", "finetune.recipe": "released_mgn"},
            dict(zip(METRICS, best, strict=True)),
        ),
        *(
            Row(f"{ZOO[name].paper}, TransReID", {"model.backbone": name, "finetune.recipe": "released"})
            for name in ("resnet50_ibn", "vit_small", "vit_base")
        ),
    ]
    ratios = [_row(f"{ratio:.0%}", "cross_video", best if ratio == 1 else (), ratio) for ratio in RATIOS]
    minutes = [
        Row(f"{ratio:.0%}", {"pretrain.ratio": ratio, "model.backbone": "resnet50"}) for ratio in RATIOS
    ]
    models = [Row(ZOO[name].paper, {"model.backbone": name}) for name in ZOO]
    mgn = "--finetune.recipe released_mgn"
    videos = f"{mgn} --data.videos.root SYNTH_PEDES --extractor.weights VIT_B.pth"
    cion_al = f"{mgn} --data.identities.name cion_al --data.identities.root CION_AL"
    gains = f"mAP with CION and what it adds to ImageNet's weights, in the mean {MEAN_GAIN[target]}"
    found = [
        Table(
            "supervised", f"Tab. 1: supervised fine-tuning, {title}", supervised, METRICS, command=ZOO_FILES
        ),
        Table("models", f"Tab. 3: {gains}, {title}", models, (*METRICS, GAIN), command=ZOO_FILES),
        Table("methods", f"Tab. 4: methods of pre-training {of}", methods, METRICS, command=videos),
        Table("methods_given", f"Tab. 4 on CION-AL {of}", given, METRICS, command=cion_al),
        Table(
            "levels",
            f"Fig. 5: denoising up to each level {of}",
            levels,
            METRICS,
            command=f"{videos} --data.images {IMAGES}",
        ),
        Table("ratio", f"Fig. 6: part of the identities {of}", ratios, METRICS, command=videos),
        Table(
            "minutes",
            "Fig. 7 (A.7): minutes of pre-training here (paper: ResNet50, linear)",
            minutes,
            (MINUTES,),
            until="pretrain",
            units={MINUTES: "min"},
            command=f"{cion_al} --variants '[identities]'",
        ),
    ]
    named = [replace(table, name=table.name + suffix) for table in found]
    return [replace(table, command=_command(table.name, target, table.command)) for table in named]


PICTURES = Table(
    "features",
    "Fig. 4: t-SNE of 15 people of the gallery by LUP's, LUP-NL's and CION's weights",
    [],
    [],
    command=f"cion tsne --config {PAPER} --data.target.root MARKET --variants '["
    + ", ".join(f'"weights: {zoo}/{{backbone}}.pth"' for zoo in ("LUP", "LUP_NL", "REIDZOO"))
    + "]'",
)

TABLES = {table.name: table for target in TITLES for table in _tables(target)} | {PICTURES.name: PICTURES}
