"""Batches as pure functions of the step: a killed run resumes with the very batch it would have had."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1
SEED_BITS = 63
"""Seeds fit an int64, so that they survive every collate and every generator."""


class Draw(NamedTuple):
    """One item of a batch: which row, and the seed of all that is random about it (frames, augmentation).

    Attributes:
        index: position in the data set.
        seed: non-negative, below 2^63.
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a draw
    seed: int


def mix(*values: int) -> int:
    """Hash integers into a seed: splitmix64 (Steele et al., OOPSLA 2014) chained over the values.

    Returns:
        an integer in [0, 2^63); the same on every machine and in every version.

    >>> mix(0, 1) != mix(1, 0), mix(3, 4) == mix(3, 4)
    (True, True)
    """
    state = 0
    for value in values:
        state = (state ^ (value & _MASK)) + _GOLDEN & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ state >> 27) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state >> (64 - SEED_BITS)


def permutation(size: int, *key: int) -> np.ndarray:
    """A random order of `size` things that is a function of the key alone, int64 [size].

    >>> permutation(3, 1, 2).tolist() == permutation(3, 1, 2).tolist()
    True
    """
    # RandomState's stream is frozen, a Generator's may change with NumPy; and torch takes a second to import.
    return np.random.RandomState(np.random.Philox(key=mix(*key))).permutation(size)


class Batches:
    """One training's batches, each a pure function of its step; iteration begins at `start`.

    Args:
        steps: batches in all.
    """

    def __init__(self, steps: int) -> None:
        if steps < 0:
            raise ValueError(f"steps: got {steps}; expected 0 or more")
        self.steps, self.start = steps, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[Draw]]:
        for step in range(self.start, self.steps):
            yield self.batch(step)

    def batch(self, step: int) -> list[Draw]:
        """This rank's part of the global batch of a step; depends on nothing but the arguments and `step`."""
        raise NotImplementedError


class ShuffledBatches(Batches):
    """Batches of a pool that is gone through in a new order each epoch, a slice for each rank; a base class.

    Args:
        steps: batches in all.
        seed: of the order and of the draws' seeds.
        rank: of this process.
        world_size: number of processes.

    >>> ShuffledBatches(steps=1, seed=0, rank=0, world_size=1).draws(0, np.array([7]), first=0)[0].index
    7
    """

    def __init__(self, steps: int, seed: int, rank: int, world_size: int) -> None:
        super().__init__(steps)
        if world_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"rank {rank} of world_size {world_size}: expected 0 <= rank < world_size")
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def order(self, size: int, epoch: int) -> np.ndarray:
        """The order of `size` things in an epoch, int64 [size]; only the latest is kept (34 MB of 4.2 M)."""
        if epoch != self._epoch:
            self._order, self._epoch = permutation(size, self.seed, epoch), epoch
        return self._order

    def draws(self, step: int, rows: np.ndarray, first: int) -> list[Draw]:
        """Rows with seeds of their own; `first` is the place of the first one in the global batch."""
        # The seed depends on the place in the *global* batch: the number of ranks changes nothing.
        return [Draw(row, mix(self.seed, step, first + i)) for i, row in enumerate(rows.tolist())]


class RandomBatches(ShuffledBatches):
    """Shuffled batches over a pool; an epoch is one pass, reshuffled each time.

    The last batch of an epoch is filled up from the epoch's beginning, so that a batch never holds a row
    twice, unless the pool is smaller than the batch. The global batch is the same for every world size; rank
    r takes its r-th slice.

    Args:
        size: rows in the pool.
        batch_size: of the global batch, over all ranks; a multiple of `world_size`.
        steps: batches in all.
        seed: of the order and of the draws' seeds.
        rank: of this process.
        world_size: number of processes.

    >>> batches = RandomBatches(size=4, batch_size=2, steps=3)
    >>> sorted(draw.index for step in (0, 1) for draw in batches.batch(step))
    [0, 1, 2, 3]
    >>> batches.start = 2
    >>> len(batches), len(list(batches))
    (3, 1)
    """

    def __init__(
        self, size: int, batch_size: int, steps: int, seed: int = 0, rank: int = 0, world_size: int = 1
    ) -> None:
        super().__init__(steps, seed, rank, world_size)
        if size < 1:
            raise ValueError(f"size: got {size}; expected a pool of at least one row")
        if batch_size < 1 or batch_size % world_size:
            raise ValueError(
                f"batch_size: got {batch_size}; expected a positive multiple of world_size {world_size} "
                "(it is the global batch)"
            )
        self.size, self.batch_size = size, batch_size
        self.steps_per_epoch = -(-size // batch_size)

    def batch(self, step: int) -> list[Draw]:
        """This rank's `batch_size / world_size` draws of a step."""
        epoch, within = divmod(step, self.steps_per_epoch)
        local = self.batch_size // self.world_size
        first = self.rank * local
        positions = (within * self.batch_size + first + np.arange(local)) % self.size
        return self.draws(step, self.order(self.size, epoch)[positions], first)


class PKBatches(ShuffledBatches):
    """Batches of P identities with K images each, for batch-hard triplets (Hermans et al., arXiv:1703.07737).

    An epoch is one pass over the identities. An identity's images are gone through K at a time over the
    epochs, reshuffled after each round, so that each image is seen equally often; an identity with fewer than
    K images repeats them. Rows with a negative pid (junk, unlabeled) are never drawn. Rank r takes whole
    identities.

    Args:
        pids: person id of each row, integers [n].
        identities: P, of the global batch; a multiple of `world_size`, at most the number of identities.
        instances: K, images per identity.
        steps: batches in all.
        seed: of the order and of the draws' seeds.
        rank: of this process.
        world_size: number of processes.

    >>> batches = PKBatches([5, 5, 9, 9, 9, -1], identities=2, instances=2, steps=1)
    >>> len(batches.batch(0)), 5 in {draw.index for draw in batches.batch(0)}
    (4, False)
    """

    def __init__(
        self,
        pids: np.ndarray | torch.Tensor | list[int],
        identities: int,
        instances: int,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(steps, seed, rank, world_size)
        pids = np.asarray(pids)
        if pids.ndim != 1 or pids.dtype.kind not in "iu":
            raise ValueError(f"pids: got {pids.dtype} {pids.shape}; expected integers [n]")
        if identities < 1 or identities % world_size or instances < 1:
            raise ValueError(
                f"identities {identities}, instances {instances}: expected positive numbers, "
                f"identities (of the global batch) a multiple of world_size {world_size}"
            )
        order = np.argsort(pids, kind="stable")
        self._rows = order[pids[order] >= 0]
        self.pids, self._starts, self._counts = np.unique(
            pids[self._rows], return_index=True, return_counts=True
        )
        if len(self.pids) < identities:
            raise ValueError(
                f"identities: got {identities}, but the rows hold {len(self.pids)}; "
                "lower `identities`, or give more data"
            )
        self.identities, self.instances = identities, instances
        self.batch_size = identities * instances
        self.steps_per_epoch = -(-len(self.pids) // identities)

    def batch(self, step: int) -> list[Draw]:
        """This rank's `identities / world_size * instances` draws of a step, identity by identity."""
        epoch, within = divmod(step, self.steps_per_epoch)
        local = self.identities // self.world_size
        first = self.rank * local
        places = within * self.identities + first + np.arange(local)
        order = self.order(len(self.pids), epoch)
        rows = [
            self._instances(int(order[place % len(order)]), epoch, int(place // len(order)))
            for place in places
        ]
        return self.draws(step, np.concatenate(rows), first * self.instances)

    def _instances(self, identity: int, epoch: int, turn: int) -> np.ndarray:
        """The K rows of an identity; `turn` is 1 where it is drawn again to fill the epoch's last batch."""
        count = int(self._counts[identity])
        rounds, chunk = divmod(epoch, -(-count // self.instances))
        order = permutation(count, self.seed, int(self.pids[identity]), rounds, turn)
        positions = (chunk * self.instances + np.arange(self.instances)) % count
        return self._rows[self._starts[identity] + order[positions]]


class CameraPKBatches(PKBatches):
    """P identities with K images of different cameras, as Cluster Contrast samples its clusters.

    An image of the identity is drawn, and K - 1 beside it from the other cameras; from its own camera where
    the identity has no other (SpCL's and Cluster Contrast's RandomMultipleGallerySampler: Ge et al., 2020;
    Dai et al., 2022). Too few images are repeated.

    Args:
        pids: person or cluster id of each row, integers [n]; negative ones are never drawn.
        camids: camera of each row, integers [n].
        identities, instances, steps, seed, rank, world_size: as for `PKBatches`.

    >>> batches = CameraPKBatches([4, 4, 4, 4], [0, 0, 0, 1], identities=1, instances=2, steps=9)
    >>> all(3 in {draw.index for draw in batch} for batch in batches)
    True
    """

    def __init__(
        self,
        pids: np.ndarray | torch.Tensor | list[int],
        camids: np.ndarray | torch.Tensor | list[int],
        identities: int,
        instances: int,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(pids, identities, instances, steps, seed, rank, world_size)
        self.camids = np.asarray(camids)
        if self.camids.shape != np.shape(pids):
            raise ValueError(f"camids: got {self.camids.shape}; expected one a row, {np.shape(pids)}")

    def _instances(self, identity: int, epoch: int, turn: int) -> np.ndarray:
        count = int(self._counts[identity])
        order = permutation(count, self.seed, int(self.pids[identity]), epoch, turn)
        first, *others = self._rows[self._starts[identity] + order]
        elsewhere = [row for row in others if self.camids[row] != self.camids[first]]
        chosen = np.array([first, *np.resize(elsewhere or others or [first], self.instances - 1)])
        return chosen.astype(np.int64)


class ImagePKBatches(PKBatches):
    """P identities with K images each, identities drawn in proportion to their images.

    Images are gone through in random order, P a batch, and each brings K - 1 others of its identity, drawn at
    random; too few images are repeated. So each image, whoever is on it, is seen once in n / (P K) batches on
    average, as in DINO and in CION's published code, where `PKBatches` sees each *identity* equally often.

    Args:
        pids, identities, instances, steps, seed, rank, world_size: as for `PKBatches`; a batch may hold an
            identity twice.

    >>> batches = ImagePKBatches([5, 5, 9, 9, 9, 9], identities=1, instances=2, steps=6)
    >>> sorted(batch[0].index for batch in batches)
    [0, 1, 2, 3, 4, 5]
    """

    def batch(self, step: int) -> list[Draw]:
        """This rank's `identities / world_size * instances` draws of a step, identity by identity."""
        local = self.identities // self.world_size
        first = self.rank * local
        rows = [self._around(step * self.identities + first + place) for place in range(local)]
        return self.draws(step, np.concatenate(rows), first * self.instances)

    def _around(self, number: int) -> np.ndarray:
        """The K rows of the identity of the image that is drawn as the `number`-th of the training."""
        turn, place = divmod(number, len(self._rows))
        image = int(self.order(len(self._rows), turn)[place])
        identity = int(np.searchsorted(self._starts, image, side="right")) - 1
        others = self._starts[identity] + permutation(int(self._counts[identity]), self.seed, number)
        return self._rows[np.resize([image, *others[others != image]], self.instances)]


CION_CURRICULUM = {0: 2, 40: 4, 60: 6, 80: 8}
"""Epoch -> images per identity, N_id (CION 4.1), in a training of 100 epochs."""


class CurriculumBatches(Batches):
    """Batches of a fixed number of images in which identities get more images as the training proceeds.

    An epoch is as many whole batches as the labelled images make (DINO drops the rest too). An identity's
    images lie side by side; `instances(step)` tells how many they are. Where N_id does not divide the batch,
    the batch is smaller by the rest.

    Args:
        pids: identity of each row, integers [n]; negative ones are never drawn.
        batch_size: images of the global batch.
        epochs: length of the training.
        curriculum: first epoch -> N_id.
        draw: "images", each about once per epoch (`ImagePKBatches`), or "identities", all equally often
            (`PKBatches`): those of few images then come many times per epoch, those of many seldom.
        seed, rank, world_size: as for `PKBatches`.

    >>> batches = CurriculumBatches([0, 0, 1, 1, 2, 2, 3, 3], 4, epochs=3, curriculum={0: 2, 2: 4})
    >>> [batches.instances(step) for step in range(len(batches))]
    [2, 2, 2, 2, 4, 4]
    """

    def __init__(
        self,
        pids: np.ndarray | torch.Tensor | list[int],
        batch_size: int,
        epochs: int,
        curriculum: Mapping[int, int] = CION_CURRICULUM,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        draw: Literal["images", "identities"] = "identities",
    ) -> None:
        self.steps_per_epoch = max(1, int((np.asarray(pids) >= 0).sum()) // max(1, batch_size))
        super().__init__(epochs * self.steps_per_epoch)
        if min(curriculum, default=-1) != 0:
            raise ValueError(f"curriculum: got {dict(curriculum)}; expected epochs from 0 on -> N_id")
        kind = {"images": ImagePKBatches, "identities": PKBatches}[draw]
        self.batch_size = batch_size
        self._phases = []
        for number, (epoch, instances) in enumerate(sorted(curriculum.items())):
            identities = batch_size // instances // world_size * world_size
            if identities < 1:
                raise ValueError(
                    f"batch_size: got {batch_size} for {world_size} ranks; N_id {instances} needs at least "
                    f"{instances * world_size}"
                )
            first = epoch * self.steps_per_epoch
            key = mix(seed, number)
            phase = kind(pids, identities, instances, self.steps, key, rank, world_size)
            self._phases.append((first, phase))

    def instances(self, step: int) -> int:
        """N_id at a step."""
        return self._phase(step)[1].instances

    def batch(self, step: int) -> list[Draw]:
        """This rank's draws of a step, identity by identity."""
        first, phase = self._phase(step)
        return phase.batch(step - first)

    def _phase(self, step: int) -> tuple[int, PKBatches]:
        return next(phase for phase in reversed(self._phases) if phase[0] <= step)
