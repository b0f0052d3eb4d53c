"""Batches that read shards one after the other, for images that lie on a slow or distant disk."""

from __future__ import annotations

import numpy as np

from reid_core.data.manifest import Manifest
from reid_core.data.samplers import RandomBatches, permutation

STREAMS, WINDOW = 8, 2


def shard_numbers(manifest: Manifest) -> np.ndarray:
    """The shard of each row of a packed manifest (`packing.pack`), int64 [n], counted from 0.

    Args:
        manifest: one whose paths go through shards.

    Raises:
        ValueError: a path that goes through none.
    """
    shards = manifest.table["path"].str.extract(r"^(.*?\.tar)/", expand=False)
    if shards.isna().any():
        path = manifest.table["path"][shards.isna()].iloc[0]
        raise ValueError(
            f"manifest {manifest.name!r} has {path!r}, which lies in no shard; pack it (reid-data pack)"
        )
    return np.unique(shards.to_numpy(dtype=str), return_inverse=True)[1].reshape(-1).astype(np.int64)


class ShardBatches(RandomBatches):
    """Shuffled batches in which each shard is read in one go.

    Each epoch puts the shards into a new order, shuffles the rows of `window` neighbouring shards among each
    other, and cuts the whole into `streams` equally long parts that are gone through side by side. A batch
    takes as many rows of each. A rank goes through streams of its own, so each shard is read by one rank (by
    two where a stream ends in it). All else is as for `RandomBatches`: an epoch is one pass, the global batch
    doesn't depend on the number of ranks, the number of workers changes nothing, and a killed training
    resumes with the very batch.

    Args:
        shards: shard of each row, integers [n] (`shard_numbers`).
        batch_size: of the global batch; a multiple of `streams`.
        steps: batches in all.
        seed: of the order and of the draws' seeds.
        rank: of this process.
        world_size: number of processes; `streams` is a multiple of it.
        streams: parts that are read side by side.
        window: shards that are shuffled together; about `streams * window` are in use at a time.

    Raises:
        ValueError: numbers that don't divide each other as they must.

    >>> batches = ShardBatches([0, 0, 1, 1, 2, 2, 3, 3], 2, steps=4, streams=2, window=1)
    >>> sorted(draw.index for batch in batches for draw in batch)
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self,
        shards: np.ndarray | list[int],
        batch_size: int,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        streams: int = STREAMS,
        window: int = WINDOW,
    ) -> None:
        super().__init__(len(shards), batch_size, steps, seed, rank, world_size)
        if streams < 1 or streams % world_size or batch_size % streams or window < 1:
            raise ValueError(
                f"batch_size {batch_size}, streams {streams}, world_size {world_size}, window {window}: "
                "expected batch_size a multiple of streams, that a multiple of world_size, window 1 or more"
            )
        self.streams, self.window = streams, window
        _, self._shards = np.unique(np.asarray(shards), return_inverse=True)

    def order(self, size: int, epoch: int) -> np.ndarray:
        """As of `ShuffledBatches`, in which each shard's rows are near each other."""
        if epoch != self._epoch:
            self._order, self._epoch = self._stream_order(size, epoch), epoch
        return self._order

    def _stream_order(self, size: int, epoch: int) -> np.ndarray:
        """The epoch's rows in the order in which batches take them."""
        windows = permutation(int(self._shards.max()) + 1, self.seed, epoch, 0)[self._shards] // self.window
        order = permutation(size, self.seed, epoch, 1)
        order = order[np.argsort(windows[order], kind="stable")]
        batches, share = size // self.batch_size, self.batch_size // self.streams
        whole = order[: batches * self.batch_size].reshape(self.streams, batches, share)
        return np.concatenate([whole.swapaxes(0, 1).reshape(-1), order[batches * self.batch_size :]])
