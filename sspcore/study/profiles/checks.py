"""Settings of a profile that contradict one another, or name what there is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sspcore.data.datasets import SPECS
from sspcore.models.description import TorchvisionSpec
from sspcore.models.systems import SYSTEMS, control
from sspcore.motion.names import FLOW_NAMES, REGISTRATOR_NAMES
from sspcore.study.profiles.own import OWN

if TYPE_CHECKING:
    from sspcore.study.profiles import Profile


def contradictions(profile: Profile) -> Iterator[tuple[str, str]]:
    """Settings that are of the right type and cannot be run, and what is wrong with each."""
    if profile.held_out_fold and not profile.held_out:
        yield "held_out_fold", f"{profile.held_out_fold} of no sequences; set held_out to the sequences of a fold, such as 3"
    if profile.distil_from == "truth" and (profile.rendering is None or profile.described):
        yield "distil_from", "exact labels of every frame are known of rendered data only; take teacher"
    for name, known in (("flow", FLOW_NAMES), ("metric_flow", FLOW_NAMES), ("registration", REGISTRATOR_NAMES)):
        if getattr(profile, name) not in known:
            yield name, f"'{getattr(profile, name)}' is unknown; choose from {', '.join(known)}"
    releases = {} if profile.rendering is None else profile.rendering.releases
    for section, names in (("clips", profile.clips), ("rendering.releases", releases)):
        for name in names:
            if name not in {*(profile.described or SPECS), *([OWN] if section == "clips" else [])}:
                yield f"{section}.{name}", f"data set is unknown; choose from {', '.join(SPECS)}"
    for role, spec in profile.models.items():
        if "weights" not in spec.model_fields_set:
            yield f"models.{role}.weights", "say where the pretrained weights come from; none: there are none"
        if isinstance(spec, TorchvisionSpec) and spec.arguments.get("aux_loss"):
            yield f"models.{role}.arguments.aux_loss", "its head would not be trained; leave it out"
    for name, release in releases.items():
        if min(release.size) < 1:
            yield f"rendering.releases.{name}.size", "height and width must be positive"
    of_teacher = {spec.recipe for spec in SYSTEMS.values() if spec.image_model == "teacher"}
    for key, recipe in profile.training.items():
        name, _, dataset = key.partition("@")
        if "@" in key and dataset not in profile.dataset_names:
            yield f"training.{key}", f"data set '{dataset}' is unknown; choose from {', '.join(profile.dataset_names)}"
        role = "teacher_size" if name in of_teacher else "input_size"
        (height, width), (crop_height, crop_width) = getattr(profile, role), recipe.crop
        if crop_height > height or crop_width > width:
            yield f"training.{key}.crop", f"{crop_height}x{crop_width} is larger than {role}, {height}x{width}"
    controls = [control(alpha).name for alpha in profile.constant_alphas]
    if len(set(controls)) < len(controls):
        yield "constant_alphas", f"{list(profile.constant_alphas)} holds a value twice"
