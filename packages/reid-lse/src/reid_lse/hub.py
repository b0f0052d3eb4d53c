"""Models of the transformers library (extra `transformers`), from a folder or fetched by their hub id."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

Precision = Literal["float32", "bfloat16", "float16"]


def load_pretrained(classes: tuple[str, str], checkpoint: str, revision: str | None) -> tuple[Any, Any]:
    """A model and its processor with their weights, read as safetensors.

    Args:
        classes: names of the model's and the processor's class in transformers.
        checkpoint: folder that `save_pretrained` wrote, or a hub id.
        revision: of the hub id, such as a commit.

    Returns:
        The model in evaluation mode, and the processor.

    Raises:
        ImportError: transformers is not installed, or its version lacks the classes.
        OSError: no such folder, or the hub can't be reached.
    """
    model, processor = (_class(name) for name in classes)
    try:
        return (
            model.from_pretrained(checkpoint, revision=revision, use_safetensors=True).eval(),
            processor.from_pretrained(checkpoint, revision=revision),
        )
    except OSError as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(
            f"{checkpoint}: could not be loaded ({reason}); pass the folder of a fetched checkpoint instead"
        ) from None


def fetch_checkpoint(checkpoint: str) -> Path:
    """Fetch a checkpoint into the hub's cache: its folder.

    Raises:
        ImportError: huggingface_hub, which comes with transformers, is not installed.
        OSError: it can't be fetched.
    """
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise ImportError(
            "hub checkpoints need transformers: pip install transformers huggingface-hub timm"
        ) from error
    try:
        return Path(snapshot_download(checkpoint, allow_patterns=["*.json", "*.safetensors"]))
    # The hub's client raises errors of its HTTP library's besides its own.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise OSError(f"{checkpoint}: could not be fetched from the hub ({reason})") from None


def _class(name: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"{name} needs transformers: pip install transformers huggingface-hub timm"
        ) from error
    try:
        return getattr(transformers, name)
    except AttributeError:
        raise ImportError(f"transformers {transformers.__version__} has no {name}; upgrade it") from None
