"""The README.md of a model folder: what its config.json says, for people."""

from __future__ import annotations

import json
from collections.abc import Mapping

from huggingface_hub import ModelCardData

from reid_core.models.model_config import ModelConfig

_TEXT = """---
{front_matter}
---

# Person re-identification model

{dim} numbers describe a person in {inputs}; two descriptions are compared by {metric}. Written by
reid-core {version}; the facts below are those of `config.json`.

```python
from reid_core.models import load

embedder = load("{source}")  # {what}
features = embedder.embed(["a.jpg", "b.jpg"])  # float32 [2, {dim}]
```

| | |
| --- | --- |
{rows}
{sections}
## Limits

Accuracy holds for people and cameras like those of the training data; measure it on your own before use.
Features of people are personal data. A ranked list is a lead for a person to check, never a decision.
"""


def model_card(config: ModelConfig, file: str = "", sections: Mapping[str, str] | None = None) -> str:
    """A model card in Markdown, with the front matter that hubs read.

    Args:
        config: of the model folder.
        file: name of the exported model's file; empty where the folder's weights are meant.
        sections: further headings and their text in Markdown.

    Example:
        >>> from reid_core.models.preprocessing import Preprocessing
        >>> card = model_card(ModelConfig(Preprocessing((256, 128)), 512, ("MSMT17",), "mit", "bnneck"))
        >>> [line for line in card.splitlines() if "MSMT17" in line or "license" in line]
        ['license: mit', '| training data | MSMT17 |']
    """
    about = config.preprocessing
    front_matter = ModelCardData(
        license=config.license,
        library_name="reid-core",
        pipeline_tag="image-feature-extraction",
        tags=["person-re-identification"],
    )
    normalisation = "each image's own mean and standard deviation"
    if not about.per_image:
        normalisation = f"mean {list(about.mean)}, std {list(about.std)}, white = {about.max_value}"
    facts = {
        "training data": ", ".join(config.training_data),
        "licence of the weights": config.license,
        "size (height x width)": "{} x {}".format(*about.size),
        "resize": f"{about.interpolation}, antialiased",
        "channels": f"{about.channels}; {normalisation}",
        "mirror image averaged in": "yes" if config.flip else "no",
    }
    if config.builder is not None:
        facts |= {"builder": f"`{config.builder}`", "arguments": f"`{json.dumps(config.arguments)}`"}
    if about.frames is not None:
        facts["clip"] = "{} frames of {} x {}".format(about.frames, *(about.frame_size or about.size))
    kinds = ["an image"] * about.takes_images + ["a clip"] * (about.frames is not None)
    return _TEXT.format(
        front_matter=front_matter.to_yaml(),
        dim=config.dim,
        inputs=" or ".join(kinds),
        metric="cosine similarity" if config.metric == "cosine" else "Euclidean distance",
        version=config.reid_core,
        source=file or ".",
        what="beside its config.json" if file else "this folder, or its id on the hub",
        sections="".join(f"\n## {name}\n\n{text.strip()}\n" for name, text in (sections or {}).items()),
        rows="\n".join(f"| {name} | {_cell(value)} |" for name, value in facts.items()),
    )


def _cell(text: str) -> str:
    """Text that can't end a cell of a Markdown table."""
    return " ".join(text.replace("|", "\\|").split())
