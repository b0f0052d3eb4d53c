"""Published weights: found or fetched, checked, and read without running anything in them."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from reid_lse.weight_files import refuse_other_file

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

FETCHED_FROM = "https://dl.fbaipublicfiles.com/segment_anything/"

BLOCK = 1 << 20
"""Bytes read at once for a digest."""


class _Official(NamedTuple):
    file: str
    sha256: str
    width: int
    depth: int


SAM_CHECKPOINTS = {
    "sam_vit_b": _Official(
        "sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912", 768, 12
    ),
    "sam_vit_l": _Official(
        "sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622", 1024, 24
    ),
    "sam_vit_h": _Official(
        "sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e", 1280, 32
    ),
}
"""The checkpoints of Kirillov et al. (2023), with the width and depth of their image encoders."""


def load_sam(name: str, checkpoint: str | Path | None = None, sha256: str | None = None) -> Sam:
    """Build one of SAM's three sizes and load its weights.

    Args:
        name: "sam_vit_b", "sam_vit_l" or "sam_vit_h".
        checkpoint: the official file or one of its layout; an https address, fetched once into torch's cache;
            None fetches the official one.
        sha256: digest to check, in hexadecimal; needed for an address that is not the official one.

    Returns:
        The model, on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an unknown name, a wrong digest, weights of another model or of another size.

    Example:
        >>> load_sam("sam_vit_b", "no/such/file.pth")
        Traceback (most recent call last):
        FileNotFoundError: no/such/file.pth: no such checkpoint; ...
    """
    if name not in SAM_CHECKPOINTS:
        raise ValueError(f"unknown SAM {name!r}; known are {', '.join(SAM_CHECKPOINTS)}")
    official = SAM_CHECKPOINTS[name]
    if checkpoint is None:
        checkpoint, sha256 = FETCHED_FROM + official.file, sha256 or official.sha256
    state = read_weights(checkpoint, sha256)
    found = _encoder_size(state)
    if found != (official.width, official.depth):
        fits = [other for other, size in SAM_CHECKPOINTS.items() if found == (size.width, size.depth)]
        what = f"it holds {fits[0]}" if fits else "it holds no official SAM"
        raise ValueError(f"{checkpoint}: expected the weights of {name}, but {what}; name the size that fits")
    from segment_anything import sam_model_registry  # here: Keypoint R-CNN's weights are read without it

    model = sam_model_registry[name.removeprefix("sam_")]()
    load_weights(model, state, checkpoint)
    return model


def read_weights(checkpoint: str | Path, sha256: str | None = None) -> dict[str, Tensor]:
    """Read a state dict with `weights_only=True`, from a file or an https address.

    Args:
        checkpoint: a file, or an address, which is fetched once into torch's cache.
        sha256: digest to check before anything is read; an address needs one.

    Returns:
        Names and tensors, on the CPU.

    Raises:
        FileNotFoundError: no such file.
        OSError: the address can't be fetched.
        ValueError: a wrong digest, an address without one, a file that is no state dict (the message says
            what it is).
    """
    address = str(checkpoint)
    if address.startswith(("https://", "http://")):
        path = fetch_address(address, sha256)
    else:
        path = Path(checkpoint)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such checkpoint; expected a file of weights")
    refuse_other_file(path)
    if sha256 is not None:
        digest = _sha256(path)
        if digest != sha256.lower():
            raise ValueError(f"{path}: SHA-256 is {digest}, expected {sha256.lower()}; fetch the file again")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        cause = error.__context__ or error  # torch puts a page of advice around its own
        reason = str(cause).strip().partition("\n")[0]
        if isinstance(cause, EOFError) or "EOF" in reason:
            raise ValueError(f"{path} is a file of weights cut short ({reason}): fetch it again") from None
        raise ValueError(f"{path}: expected a state dict of tensors alone; {reason}") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state dict, names to tensors; save model.state_dict()")
    return state


def load_weights(model: torch.nn.Module, state: dict[str, Tensor], source: str | Path) -> None:
    """Load a state dict that must fit the model exactly; the error names its source."""
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{source}: these weights do not fit {type(model).__name__}: {reason}") from None
    model.eval()


def fetch_address(address: str, sha256: str | None) -> Path:
    """Fetch a file once into torch's cache.

    Args:
        address: https address of the file.
        sha256: its digest in hexadecimal, or the first eight digits or more.

    Raises:
        OSError: it can't be fetched.
        ValueError: no digest, or another one.
    """
    if sha256 is None:
        raise ValueError(f"{address}: weights from the network need sha256, so that they are the ones meant")
    path = Path(torch.hub.get_dir()) / "checkpoints" / address.rpartition("/")[2]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(path), hash_prefix=sha256.lower())
        except RuntimeError as error:
            raise ValueError(f"{address}: {error}") from None
        except OSError as error:
            raise OSError(
                f"{address}: could not be fetched ({error}); pass the file's path instead"
            ) from None
    return path


def fetch_sam(name: str) -> Path:
    """The official checkpoint of a size of SAM, fetched once into torch's cache."""
    official = SAM_CHECKPOINTS[name]
    return fetch_address(FETCHED_FROM + official.file, official.sha256)


def _encoder_size(state: dict[str, Tensor]) -> tuple[int, int] | None:
    """Width and depth of the image encoder in a SAM's state dict."""
    patches = state.get("image_encoder.patch_embed.proj.weight")
    if patches is None:
        return None
    blocks = {name.split(".")[2] for name in state if name.startswith("image_encoder.blocks.")}
    return patches.shape[0], len(blocks)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
