"""What can be seen to be wrong with a configuration before any work."""

from __future__ import annotations

from pathlib import Path

from cion.pipeline.config import RunConfig, Source
from reid_core.models.backbones import build_backbone
from reid_core.processes import check_processes


def needs_features(config: RunConfig, until: str) -> bool:
    """Whether a run up to a stage extracts features: to denoise by, which "none" and "dino" don't."""
    return until != "tracklets" and (
        until in ("features", "denoise") or bool(set(config.variants) - {"none", "dino"})
    )


def check(config: RunConfig, until: str = "evaluate") -> None:
    """Refuse what can be seen to be wrong before anything is read, written or trained.

    Args:
        config: the whole configuration.
        until: the last stage to run.

    Raises:
        ValueError: a setting that can't work; the message names it.
        FileNotFoundError: a root or checkpoint that isn't there.

    Example:
        >>> check(RunConfig())
        Traceback (most recent call last):
        ValueError: data.videos.root is empty: give the folder of synth_pedes
    """
    data, extractor, machine = config.data, config.extractor, config.machine
    roots: dict[str, Source] = {}
    if data.synthetic is None:
        roots = {"data.videos": data.videos, "data.target": data.target}
        if data.videos.raw is not None:
            del roots["data.videos"]
            if not Path(data.videos.detector).is_file():
                raise FileNotFoundError(f"data.videos.detector: there is no file {data.videos.detector!r}")
    elif data.target.root:
        roots = {"data.target": data.target}
    if data.synthetic is not None and extractor.source is not None:
        raise ValueError("extractor.source: the synthetic world has labelled people of its own; give null")
    if extractor.source is not None:
        roots["extractor.source"] = extractor.source
    for name, source in roots.items():
        if not source.root:
            raise ValueError(f"{name}.root is empty: give the folder of {source.name}")
        if not Path(source.root).is_dir():
            raise FileNotFoundError(
                f"{name}.root: there is no folder {source.root}; give that of {source.name}"
            )
    for name in ("weights", "features"):
        path = getattr(extractor, name)
        if path is not None and not Path(path).is_file():
            raise FileNotFoundError(f"extractor.{name}: there is no file {path}")
    learns = extractor.source or (data.synthetic is not None and data.synthetic.labelled.get("identities"))
    if needs_features(config, until) and not (learns or extractor.weights or extractor.features):
        raise ValueError("the extractor has no weights: give extractor.weights, .features or .source")
    if not config.variants or len(set(config.variants)) < len(config.variants):
        raise ValueError(f"variants={config.variants}: expected one or more, each once")
    check_processes(machine, "cion.cli")
    import torch

    with torch.device("meta"):  # an unknown name or option, before any long work
        network, _ = (
            build_backbone(model.backbone, model.image_size, **model.options)
            for model in (config.model, extractor.model)
        )
    if config.pretrain.local_views and set(config.variants) != {"none"}:
        try:
            network.grid(config.pretrain.local_size)
        except ValueError as error:
            name = f"model.backbone={config.model.backbone} at pretrain.local_size"
            raise ValueError(f"{name}: {error}") from error
