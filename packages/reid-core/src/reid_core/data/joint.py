"""Images and clips in one training: as one data set, with batches of both."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from reid_core.data.datasets import ImageDataset, TrackletDataset, collate
from reid_core.data.samplers import Batches, Draw, PKBatches, RandomBatches, mix, permutation


class ImagesAndClips(Dataset[dict[str, Any]]):
    """Images first, then clips, with pids that mean one person throughout.

    Args:
        images: labelled images, or None.
        clips: labelled clips, or None.
        shift: added to the clips' pids where they name other people than the images'.
    """

    def __init__(self, images: ImageDataset | None, clips: TrackletDataset | None, shift: int) -> None:
        self.images, self.clips, self.shift = images, clips, shift
        self.first_clip = len(images) if images is not None else 0

    def __len__(self) -> int:
        return self.first_clip + (len(self.clips) if self.clips is not None else 0)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        if draw.index < self.first_clip:
            assert self.images is not None
            item = self.images[draw]
            return {key: item[key] for key in ("image", "pid", "unreadable")}
        assert self.clips is not None
        item = self.clips[Draw(draw.index - self.first_clip, draw.seed)]
        pid = item["pid"] + self.shift
        return {"clip": item["clip"], "clip_pid": pid, "unreadable": item["unreadable"]}


class JointBatches(Batches):
    """P identities per batch, each with so many images and so many clips; a pure function of the step.

    Identities are drawn, without repetition in an epoch, from those that have what is asked for. Where images
    and clips show different people, each kind draws its own P identities.

    Args:
        image_pids: pid of each image, int64 [n].
        clip_pids: pid of each clip, int64 [m]; clips are numbered behind the images.
        identities: P, over all ranks.
        image_instances: images per identity, 0 for none.
        clip_instances: clips per identity, 0 for none.
        same_people: whether a pid means the same person in both.
        steps: batches in all.
        seed: of everything that is drawn.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: fewer than P identities have what is asked for.

    Example:
        >>> pids = np.array([1, 1, 2, 2])
        >>> batches = JointBatches(pids, pids, 2, 2, 1, True, steps=1)
        >>> sum(draw.index < 4 for draw in batches.batch(0)), len(batches.batch(0))
        (4, 6)
    """

    def __init__(
        self,
        image_pids: np.ndarray,
        clip_pids: np.ndarray,
        identities: int,
        image_instances: int,
        clip_instances: int,
        same_people: bool,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(steps)
        self.seed = seed
        self.first_clip, self.clip_instances = len(image_pids), clip_instances
        self.image_pids = image_pids
        self.joint = bool(same_people and image_instances and clip_instances)
        layout = (identities, image_instances, steps, mix(seed, 1), rank, world_size)
        if self.joint:
            both = np.intersect1d(image_pids, clip_pids)
            image_pids = np.where(np.isin(image_pids, both), image_pids, -1)
            self.clips_of = {int(pid): np.flatnonzero(clip_pids == pid) for pid in both if pid >= 0}
        self.images = PKBatches(image_pids, *layout) if image_instances else None
        self.clips = None
        if clip_instances and not self.joint:
            self.clips = PKBatches(
                clip_pids, identities, clip_instances, steps, mix(seed, 2), rank, world_size
            )
        if self.images is None and self.clips is None:
            raise ValueError("image_instances and clip_instances are both 0: one of them must be positive")
        self.first = rank * (identities // world_size)

    def batch(self, step: int) -> list[Draw]:
        """This rank's draws of a step: images, then clips.

        Args:
            step: number of the batch.

        Returns:
            Draws into a `ImagesAndClips` data set.
        """
        images = self.images.batch(step) if self.images is not None else []
        if not self.joint:
            clips = self.clips.batch(step) if self.clips is not None else []
            return images + [Draw(self.first_clip + clip.index, clip.seed) for clip in clips]
        assert self.images is not None
        people = [int(self.image_pids[draw.index]) for draw in images[:: self.images.instances]]
        draws = []
        for place, pid in enumerate(people):
            clips_of = self.clips_of[pid]
            key = (self.seed, 3, step, self.first + place)
            order = permutation(len(clips_of), *key)
            for turn in range(self.clip_instances):
                clip = int(clips_of[int(order[turn % len(order)])])
                draws.append(Draw(self.first_clip + clip, mix(*key, turn)))
        return images + draws


def collate_both(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Batch for `reid_core.models.heads.ReIDObjective` of any mixture of images and clips.

    Args:
        items: items of a `ImagesAndClips` data set.

    Returns:
        image [b 3 h w] with pid [b], clip [c t 3 h w] with clip_pid [c], each where there are some;
        unreadable, a list.
    """
    batch: dict[str, Any] = {"unreadable": [path for item in items for path in item["unreadable"]]}
    for kind in ("image", "clip"):
        chosen = [{k: v for k, v in item.items() if k != "unreadable"} for item in items if kind in item]
        if chosen:
            batch |= collate(chosen)
    return batch


class ZippedBatches(Batches):
    """Two samplers side by side: each batch is a batch of images and one of videos, numbered behind them.

    Args:
        images: batches over the images, or None.
        videos: batches over the videos, or None.
        first_video: number of the first video in the data set, that of its images.

    Raises:
        ValueError: there is neither, or the numbers of batches differ.

    Example:
        >>> both = ZippedBatches(RandomBatches(4, 2, steps=3), RandomBatches(2, 1, steps=3), first_video=4)
        >>> [draw.index >= 4 for draw in both.batch(0)]
        [False, False, True]
    """

    def __init__(self, images: RandomBatches | None, videos: RandomBatches | None, first_video: int) -> None:
        self.samplers = [
            (sampler, first) for sampler, first in ((images, 0), (videos, first_video)) if sampler is not None
        ]
        lengths = {len(sampler) for sampler, _ in self.samplers}
        if len(lengths) != 1:
            raise ValueError(f"images and videos have {sorted(lengths)} batches; expected one common number")
        super().__init__(lengths.pop())

    def batch(self, step: int) -> list[Draw]:
        """The draws of a step, images first.

        Args:
            step: number of the batch.

        Returns:
            Draws into the data set.
        """
        return [
            Draw(first + draw.index, draw.seed)
            for sampler, first in self.samplers
            for draw in sampler.batch(step)
        ]
