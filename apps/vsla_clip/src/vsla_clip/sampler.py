"""Batches as the authors' release draws them: an epoch is a pass over groups of K tracklets of one person."""

from __future__ import annotations

import numpy as np

from reid_core.data.samplers import Draw, ShuffledBatches, permutation


class GroupBatches(ShuffledBatches):
    """Batches of P groups of K tracklets of one person, all groups once per epoch.

    A person's tracklets are shuffled and cut into groups of K in each epoch; what remains is left out, and a
    person of fewer has one group that repeats some. All persons' groups are shuffled, so that those of many
    tracklets come more often than with `PKBatches`, and may come twice in a batch; what fills no whole batch
    is left out (RandomIdentitySampler_Video of the release, a loader with drop_last). Rank r takes its r-th
    slice of each batch.

    Args:
        pids: person of each tracklet, integers [n].
        identities: P, groups of the global batch; a multiple of `world_size`.
        instances: K.
        steps: batches in all.
        seed: of the order and of the draws' seeds.
        rank: of this process.
        world_size: number of processes.

    Raises:
        ValueError: fewer groups than a batch takes, or processes that can't share it.

    Example:
        >>> batches = GroupBatches(np.repeat([1, 2, 3], [9, 4, 2]), identities=2, instances=4, steps=5)
        >>> batches.steps_per_epoch, len(batches.batch(0))
        (2, 8)
    """

    def __init__(
        self,
        pids: np.ndarray,
        identities: int,
        instances: int,
        steps: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(steps, seed, rank, world_size)
        people, starts, counts = np.unique(np.sort(pids), return_index=True, return_counts=True)
        order = np.argsort(pids, kind="stable")
        self._rows = {
            int(pid): order[start : start + count]
            for pid, start, count in zip(people, starts, counts, strict=True)
        }
        self.identities, self.instances = identities, instances
        groups = int((np.maximum(counts, instances) // instances).sum())
        self.steps_per_epoch = groups // identities
        if not self.steps_per_epoch or identities % world_size:
            raise ValueError(
                f"identities={identities}: expected a multiple of {world_size} processes, and no more than "
                f"the {groups} groups of {instances} tracklets that there are"
            )
        self._grouped, self._groups = -1, np.empty((0, instances), dtype=np.int64)

    def batch(self, step: int) -> list[Draw]:
        """This rank's draws of a step, group by group."""
        epoch, within = divmod(step, self.steps_per_epoch)
        if epoch != self._grouped:
            self._grouped, self._groups = epoch, self._group(epoch)
        local = self.identities // self.world_size
        first = self.rank * local
        start = within * self.identities + first
        rows = self._groups[start : start + local].reshape(-1)
        return self.draws(step, rows, first * self.instances)

    def _group(self, epoch: int) -> np.ndarray:
        """Rows of all groups of an epoch, in their order, int64 [groups K]."""
        groups = []
        for pid, rows in self._rows.items():
            shuffled = rows[permutation(len(rows), self.seed, epoch, pid)]
            whole = max(1, len(rows) // self.instances) * self.instances
            groups.append(np.resize(shuffled, whole).reshape(-1, self.instances))
        found = np.concatenate(groups)
        return found[self.order(len(found), epoch)]
