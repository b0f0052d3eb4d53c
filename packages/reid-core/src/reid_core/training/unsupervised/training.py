"""Cluster Contrast's training: rounds of features, clusters, memory and an epoch, resumed after a kill."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor, nn

from reid_core.data.datasets import ImageDataset, Transform, collate
from reid_core.data.digests import rows_digest
from reid_core.data.manifest import UNKNOWN, Manifest
from reid_core.data.samplers import CameraPKBatches, mix
from reid_core.files import atomic, claim, digest, finish, read_summary
from reid_core.models.features import extract, valid_path
from reid_core.processes import local_device, share
from reid_core.training.checkpoints import read_checkpoint, write_checkpoint
from reid_core.training.config import TrainConfig
from reid_core.training.loop import FINAL, LAST, fit
from reid_core.training.protocols import Logger
from reid_core.training.unsupervised.clusters import centroids, cluster, within_cameras
from reid_core.training.unsupervised.colours import StripeColours
from reid_core.training.unsupervised.config import ClusterContrastConfig
from reid_core.training.unsupervised.memory import ClusterMemory
from reid_core.training.unsupervised.neighbours import jaccard_distance

CLUSTERS, LABELS, CENTROIDS = "clusters", "labels.npy", "centroids.npy"
ANY_MACHINE: dict[str, Any] = {
    **{"workers": 0, "checkpoint_every": 1, "log_every": 1},
    **{"accelerator": "auto", "devices": 1, "num_nodes": 1, "strategy": "auto"},
}
"""In place of what a training runs on and how often it tells: these change no result."""


def train_clusters(
    model: nn.Module,
    manifest: Manifest,
    train_transform: Transform,
    eval_transform: Transform,
    folder: str | Path,
    settings: ClusterContrastConfig | None = None,
    config: TrainConfig | None = None,
    seed: int = 0,
    fingerprint: str = "",
    logger: Logger | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> list[dict[str, int]]:
    """Train a model on images without labels (USL), or adapt it to them (UDA), by Cluster Contrast.

    In each round the features of all images are extracted and clustered (`jaccard_distance`, `cluster`), the
    centroids become the memory (`ClusterMemory`), and `config.steps` steps are trained on camera-aware
    batches of the clusters; outliers and unreadable images sit the round out. Dai et al., "Cluster Contrast
    for Unsupervised Person Re-Identification", ACCV 2022, with which CION fine-tunes for both settings (4.1).

    USL and UDA differ in the weights that the model comes with. CION says no more of UDA than that Cluster
    Contrast is used, and Cluster Contrast's code knows no source domain; the reference taken here is
    TransReID-SSL, whose results CION compares with (Tab. 2): the model is fine-tuned on the labelled source
    first (`heads.ReIDObjective`), then trained on the target as in USL. SpCL's joint memory of source classes
    and target clusters is not used.

    Each round is a folder, `round_000` and so on, with its clusters (`clusters/labels.npy`) and weights
    (`final.pt`, under "model."). Called again after a kill it resumes within the round and ends, on the CPU,
    with the same bits; with more rounds it continues after the last one; with other images, settings or
    initial weights it is refused. With several processes the folder must be on storage that they share.

    Args:
        model: module from images `[b 3 h w]` to features `[b d]`, such as a `heads.ReIDModel` or a backbone
            with a batch norm behind it (the published code has one); lengths don't count. It holds the final
            weights afterwards.
        manifest: the images; pids are not looked at, camids are (by the sampler).
        train_transform: augmentation of the training images.
        eval_transform: of the images whose features are clustered.
        folder: where the rounds are kept.
        settings: of the clustering and the memory; None for Cluster Contrast's.
        config: how to train a round. The learning rate is `config.lr` throughout a round and decays over the
            rounds, so `min_lr` and `warmup_steps` have no part; AdamW's state is kept from round to round.
            None for the published 200 steps at 3.5e-4 with a weight decay of 5e-4.
        seed: of batches, augmentation and dropout.
        fingerprint: whatever else the result depends on, such as the transforms' settings.
        logger: gets each round's metrics, with "clusters" and "outliers" at each round's first step.
        rank: of this process.
        world_size: number of processes.

    Returns:
        For each round its number of "clusters" and of "outliers".

    Raises:
        ValueError: fewer images than k1, a round without two clusters, or a folder that was begun with other
            settings; the message says what to change.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from torchvision.io import write_png
        >>> folder = Path(tempfile.mkdtemp())
        >>> for image in range(16):  # two people: one in red, one in green
        ...     picture = torch.randint(60, (3, 8, 4), dtype=torch.uint8)
        ...     picture[image % 2] += 190
        ...     _ = write_png(picture, str(folder / f"{image}.png"))
        >>> paths = [f"{image}.png" for image in range(16)]
        >>> manifest = Manifest(pd.DataFrame({"path": paths, "split": "unlabeled"}), folder)
        >>> plain = lambda image: image.float() / 255
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(96, 8), nn.BatchNorm1d(8))
        >>> settings = ClusterContrastConfig(rounds=1, instances=2, k1=8, k2=1)
        >>> config = TrainConfig(steps=1, warmup_steps=0, accelerator="cpu")
        >>> train_clusters(model, manifest, plain, plain, folder / "rounds", settings, config)
        [{'clusters': 2, 'outliers': 0}]
    """
    settings = settings or ClusterContrastConfig()
    config = config or TrainConfig(steps=200, lr=3.5e-4, weight_decay=5e-4)
    if len(manifest) < settings.k1:
        raise ValueError(
            f"manifest {manifest.name!r} has {len(manifest)} images, fewer than k1={settings.k1}; give more "
            "images, or lower k1"
        )
    before: Path | None = None
    images = rows_digest(manifest) if rank == 0 else ""
    inputs = {"images": manifest.digest, "weights": _digest(model), "other": fingerprint}
    summaries = []
    for number in range(settings.rounds):
        single = replace(settings, rounds=1, colour_rounds=int(number < settings.colour_rounds))
        lr = config.lr * settings.decay ** (number // settings.decay_every)
        trained = replace(config, lr=lr, min_lr=lr, warmup_steps=0)
        out = Path(folder) / f"round_{number:03}"
        result_only = replace(trained, **ANY_MACHINE)
        begun = {"settings": single, "train": result_only, "seed": seed, "inputs": inputs}
        work = _Round(
            model,
            manifest,
            train_transform,
            eval_transform,
            out,
            before,
            number,
            settings,
            trained,
            mix(seed, number),
            images,
            logger,
            rank,
            world_size,
        )
        summaries.append(work.summary(begun))
        model.load_state_dict(_weights(out / FINAL))
        if before is not None and rank == 0:
            (before / LAST).unlink(missing_ok=True)  # the optimiser's state, which this round has taken over
        before, inputs = out, {"before": digest(begun)}
    return summaries


class ClusterObjective(nn.Module):
    """A model's features against a memory of centroids, for `reid_core.training.loop.fit`.

    Args:
        model: module from images `[b 3 h w]` to features `[b d]`.
        memory: centroids `[clusters d]`.

    Example:
        >>> objective = ClusterObjective(nn.Flatten(), ClusterMemory(torch.eye(3)))
        >>> objective({"image": torch.ones(2, 3, 1, 1), "pid": torch.tensor([0, 1])})
        {'loss': tensor(1.0986)}
    """

    def __init__(self, model: nn.Module, memory: ClusterMemory) -> None:
        super().__init__()
        self.model, self.memory = model, memory

    def forward(self, batch: Mapping[str, Any]) -> dict[str, Tensor]:
        """The loss of a batch: "image" `[b 3 h w]` float with "pid" `[b]` int64, cluster of each."""
        return {"loss": self.memory(self.model(batch["image"]), batch["pid"])}


@dataclass
class _Round:
    """One round's work, in a folder of its own."""

    model: nn.Module
    manifest: Manifest
    train_transform: Transform
    eval_transform: Transform
    out: Path
    before: Path | None
    number: int
    settings: ClusterContrastConfig
    config: TrainConfig
    seed: int
    images: str
    """`rows_digest` of the manifest, in rank 0."""
    logger: Logger | None
    rank: int
    world_size: int

    def summary(self, begun: dict[str, Any]) -> dict[str, Any]:
        """The round's numbers, after it has been trained; every process comes here, rank 0 writes."""
        done = share(lambda: self._claim(begun))
        if done is None:
            summary = self._train()
            done = share(lambda: self._finish(self.out, summary))
        return done

    def _claim(self, begun: dict[str, Any]) -> dict[str, Any] | None:
        claim(self.out, begun)
        return read_summary(self.out)

    def _finish(self, folder: Path, summary: dict[str, Any]) -> dict[str, Any]:
        finish(folder, summary)
        return summary

    def _find_clusters(self) -> dict[str, Any]:
        folder = self.out / CLUSTERS
        folder.mkdir(exist_ok=True)
        return read_summary(folder) or self._finish(folder, self._cluster(folder))

    def _train(self) -> dict[str, Any]:
        """Cluster, then train an epoch on the clusters; returns their numbers."""
        out, clusters = self.out, self.out / CLUSTERS
        summary: dict[str, Any] = share(self._find_clusters)
        labels = np.load(clusters / LABELS)
        objective = self._objective(np.load(clusters / CENTROIDS))
        first = self.number * self.config.steps
        if self.rank == 0 and self.logger is not None:
            self.logger.metrics(summary, step=first)
        identities = min(self.settings.identities, summary["clusters"]) // self.world_size * self.world_size
        steps = self.config.steps * self.config.accumulate
        batches = CameraPKBatches(
            labels,
            self.manifest.camids,
            identities,
            self.settings.instances,
            steps,
            self.seed,
            self.rank,
            self.world_size,
        )
        # tracklets go: DBSCAN may tear one apart, which no manifest allows
        table = self.manifest.table.assign(pid=labels, tracklet=UNKNOWN)
        clustered = Manifest(table, self.manifest.root, self.manifest.name)
        dataset = ImageDataset(clustered, self.train_transform)
        logger = None if self.logger is None else _From(first, self.logger)
        _drop_half_finished(out, self.config.steps)
        fit(objective, dataset, batches, collate, self.config, out, self.seed, logger)
        return summary

    def _objective(self, middles: np.ndarray) -> ClusterObjective:
        s = self.settings
        return ClusterObjective(
            self.model, ClusterMemory(torch.from_numpy(middles), s.momentum, s.temperature, s.hardest)
        )

    def _cluster(self, out: Path) -> dict[str, int]:
        """Features of all images, their clusters and centroids, and where the training begins."""
        s = self.settings
        features, readable = self._extract(self.model, out / "features.npy")
        if readable.sum() < s.k1:
            raise ValueError(
                f"{readable.sum()} of {len(readable)} images can be read, fewer than k1={s.k1}; see to the "
                f"files under {self.manifest.root} (reid-data check names the broken ones)"
            )
        by_colours = self.number < s.colour_rounds
        if by_colours and self.before is not None:
            labels = np.load(self.before / CLUSTERS / LABELS)  # colours don't change
        else:
            compared = features[readable]
            if by_colours:
                compared = self._extract(StripeColours(), out / "colours.npy")[0][readable]
            if by_colours or s.within_cameras:
                compared = within_cameras(compared, self.manifest.camids[readable])
            labels = np.full(len(readable), UNKNOWN)
            device = local_device(self.config.accelerator) if faiss.get_num_gpus() else "cpu"
            distances = jaccard_distance(compared, s.k1, s.k2, s.eps, device=device)
            labels[readable] = cluster(distances, s.eps, s.min_samples)
        found, outliers = int(labels.max()) + 1, int((labels == UNKNOWN).sum())
        self._check(found)
        middles = centroids(features, labels)
        _save(out / LABELS, labels)
        _save(out / CENTROIDS, middles)
        if self.before is not None:
            last = read_checkpoint(self.before / LAST)
            state = {name: value.cpu() for name, value in self._objective(middles).state_dict().items()}
            write_checkpoint(last | {"state_dict": state, "step": 0}, out.parent / LAST)
        print(
            f"round {self.number}: {found} clusters; {outliers} of {len(labels)} images are outliers",
            file=sys.stderr,
        )
        return {"clusters": found, "outliers": outliers}

    def _extract(self, model: nn.Module, file: Path) -> tuple[np.ndarray, np.ndarray]:
        """Features of all images, and which of these could be read; the files are gone when this returns."""
        s = self.settings
        found = extract(
            model,
            ImageDataset(self.manifest, self.eval_transform, replace=False),
            file,
            batch_size=s.identities * s.instances,
            workers=self.config.workers,
            device=local_device(self.config.accelerator),
            images=self.images,
        )
        for written in (file, valid_path(file)):
            written.unlink()
        return found.array, found.valid

    def _check(self, found: int) -> None:
        needed = max(2, self.world_size)
        if found >= needed:
            return
        s = self.settings
        what = f"only {found} of at least {needed} clusters were found"
        change = "lower eps or k1"
        if found == 0:
            what, change = "every image is an outlier", "raise eps, lower min_samples"
        raise ValueError(
            f"round {self.number}: {what} at eps={s.eps}, min_samples={s.min_samples}, k1={s.k1}; {change}, "
            "or begin with weights that tell people apart (pre-trained, or fine-tuned on a labelled source)"
        )


@dataclass
class _From:
    """A logger whose steps begin elsewhere."""

    first: int
    logger: Logger

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        self.logger.metrics(values, step=self.first + step)


def _weights(file: Path) -> dict[str, Tensor]:
    """The model's part of a round's weights."""
    state = read_checkpoint(file)["state_dict"]
    return {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}


def _drop_half_finished(out: Path, steps: int) -> None:
    """Remove weights whose optimiser state a kill kept from being written: the next round needs both."""
    last = out / LAST
    if not last.exists() or read_checkpoint(last, mmap=True)["step"] < steps:
        (out / FINAL).unlink(missing_ok=True)


def _digest(model: nn.Module) -> str:
    """sha256 of a model's weights, hexadecimal."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _save(file: Path, array: np.ndarray) -> None:
    with atomic(file) as temporary:
        np.save(temporary, array)
