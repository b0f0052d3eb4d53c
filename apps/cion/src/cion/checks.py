"""What both recipes refuse before any work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from cion.config import FinetuneConfig, Network
from cion.networks import build_reid
from cion.stages.finetune import labelled_rows
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.models.dry_run import check_inputs


def check_networks(trained: Mapping[str, tuple[Network, FinetuneConfig]]) -> None:
    """Refuse a network that can't be built or takes no image of its size, on shapes alone.

    Args:
        trained: option -> network and how it is fine-tuned.

    Raises:
        ValueError: an unknown backbone or option, or a method that takes another backbone.
    """
    for name, (network, settings) in trained.items():
        build = partial(build_reid, network, settings, settings.identities, seed=0)
        check_inputs(f"{name}: {network.backbone}", build, [(1, 3, *network.image_size)])


def check_cameras(name: str, settings: FinetuneConfig, train: Manifest, *tests: Manifest) -> None:
    """Refuse side information for images whose camera is unknown, or is none of the training's.

    Args:
        name: of the option that says how they are trained on.
        settings: how.
        train: the labelled images.
        tests: the images that are retrieved.

    Raises:
        ValueError: such a camera.
    """
    if not settings.side_information:
        return
    known = set(labelled_rows(train).camids.tolist()) - {UNKNOWN}
    for rows in (train, *tests):
        if other := set(rows.camids.tolist()) - known:
            raise ValueError(
                f"{name}.side_information: {rows.name} has camera {min(other)}, the training images have "
                f"{sorted(known)}: side information serves the cameras of the training alone"
            )


def check_people(name: str, settings: FinetuneConfig, rows: Manifest) -> None:
    """Refuse labelled images of fewer people than a batch needs.

    Args:
        name: of the option that says how they are trained on.
        settings: how.
        rows: the images.

    Raises:
        ValueError: too few people, or none with a label.
    """
    people = len(set(labelled_rows(rows).pids.tolist()))
    if people < settings.identities:
        raise ValueError(
            f"{name}.identities={settings.identities}, but {rows.name} has {people} people to train on"
        )
