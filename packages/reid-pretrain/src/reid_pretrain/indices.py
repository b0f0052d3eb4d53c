"""What the objectives read off masks, flags and person ids, made on the host, where the batch is.

On a device each such look would wait for all work queued there. Call these where a batch is put together, in
a loader's `collate`; the objectives call them themselves for a batch that comes without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

MODALITIES = ("image", "video")
"""VILLS' two kinds of input."""


def index_views(batch: Mapping[str, Any]) -> dict[str, Any]:
    """A batch of `VILLS` with the places of its hidden patches and valid regions.

    Args:
        batch: as `VILLS` takes it: for each modality that is there, masks bool [b g n] (videos [b g t n]) and
            regions_valid bool [b a].

    Returns:
        The same entries and, for each modality,
        `{name}_hidden`: int64 [m], places of hidden patches among all of them [g b n], view by view;
        `{name}_region_places`: int64 [r], places of valid regions among all of them [b a], area by area;
        `{name}_region_counts`: list of a ints, valid regions of each area.
        Where a single patch is hidden, which the heads' batch norm can't see alone, the masks are cleared.

    Example:
        >>> masks = torch.tensor([[[True, False, True], [False, True, False]]])  # 1 image, 2 views, 3 patches
        >>> valid = torch.tensor([[False, True]])
        >>> batch = index_views({"image_masks": masks, "image_regions_valid": valid})
        >>> batch["image_hidden"], batch["image_region_places"], batch["image_region_counts"]
        (tensor([0, 2, 4]), tensor([1]), [0, 1])
    """
    indexed = dict(batch)
    for name in MODALITIES:
        if f"{name}_masks" in batch:
            masks, valid = batch[f"{name}_masks"], batch[f"{name}_regions_valid"]
            hidden = masks.transpose(0, 1).flatten().nonzero()[:, 0]
            if len(hidden) == 1:
                indexed[f"{name}_masks"], hidden = torch.zeros_like(masks), hidden[:0]
            area, item = valid.T.nonzero(as_tuple=True)
            indexed[f"{name}_hidden"] = hidden
            indexed[f"{name}_region_places"] = item * valid.shape[1] + area
            indexed[f"{name}_region_counts"] = valid.sum(0).tolist()
    return indexed


def index_people(pids: Tensor) -> tuple[Tensor, int]:
    """People of a batch, numbered from 0, and how many there are: what `IdentityGuidedLoss` sums over.

    Args:
        pids: int64 [b], any ids.

    Returns:
        int64 [b] in the order of the ids, and the number of different ones.

    Example:
        >>> index_people(torch.tensor([9, 2, 9]))
        (tensor([1, 0, 1]), 2)
    """
    different, person = pids.unique(return_inverse=True)
    return person, len(different)
