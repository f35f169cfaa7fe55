"""The model card of a checkpoint: what a person reads first, and what the hub shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sspcore.models.config import CheckpointConfig

_CARD = """---
library_name: sspcore
pipeline_tag: image-segmentation
license: {licence}
tags: [video-segmentation, semantic-segmentation, aerial]
---

# {system}: {title}

{kind}, on {image}. It gives a class to each pixel.

Frames: RGB, {height}x{width} pixels, values in 0..1 normalised by mean {mean} and standard deviation {std}.

Trained on: {data}

Licence of the weights: {licence_text}

## Use

```python
import sspcore
model, config = sspcore.load_checkpoint("this folder, or its id on the hub")
for result in sspcore.segment_video(model, "video.mp4"):
    print(result.labels)  # class ids (H, W) of one frame
```

## Classes

| id | class | colour (RGB) | moves by itself |
|---|---|---|---|
{classes}
{scores}
## Origin

Written by sspcore {version}; `config.json` has all settings.

```json
{provenance}
```
"""

_KINDS = {
    "image": "An image model, frame by frame without memory",
    "ssp": "Semantic Similarity Propagation, a recurrent step that carries each frame's prediction to the next",
    "dff": "Deep Feature Flow: features of key frames, warped by optical flow between them",
    "netwarp": "NetWarp: features of the frame before, warped by optical flow and mixed in",
    "tcb_ppm": "Temporal Context Blending with pyramid pooling over four frames",
    "tcb_ocr": "Temporal Context Blending with object contexts over four frames",
}


def model_card(config: CheckpointConfig) -> str:
    """The text of README.md in Markdown, with the head that the hub reads."""
    classes = config.classes
    rows = (
        f"| {number} | {name} | {', '.join(map(str, colour))} | {'yes' if name in classes.moving else ''} |"
        for number, (name, colour) in enumerate(zip(classes.classes, classes.palette, strict=True))
    )
    scores = "".join(f"| {name} | {value} |\n" for name, value in config.scores.items())
    height, width = config.input_size
    return _CARD.format(
        licence=(config.licence or "other").lower(), licence_text=config.licence or "not stated", system=config.system,
        title=classes.title, kind=_KINDS[config.method], image=_image(config), height=height, width=width,
        mean=list(config.mean), std=list(config.std), data=config.data or "not stated", classes="\n".join(rows),
        scores=f"\n## Scores\n\n| metric | value |\n|---|---|\n{scores}" if scores else "", version=config.written_by,
        provenance=json.dumps(config.provenance, indent=1),
    )


def _image(config: CheckpointConfig) -> str:
    values = config.image_model.model_dump()
    if "smp" in values:
        encoder = values["arguments"].get("encoder_name", "its default")
        return f"{values['smp']} of segmentation_models_pytorch, encoder {encoder}"
    if "module" in values:
        return f"an image model of the user's own code, {values['module']}"
    return f"{'UPerNet' if values['arch'] == 'upernet' else 'SegFormer'}, encoder {values['encoder']}"
