"""Profiles: every number that a run depends on, validated, in one typed object.

A profile is a YAML file beside this module (`smoke`, `demo`, `paper`). An ablation is one overridden value:
`load_profile("demo", {"training.video.lambda_tc": 0.2})`. An unknown key or an impossible value is an error.
"""

from sspcore.study.profiles.schema import (
    CONTROL_IMAGE,
    SEED_LIMIT,
    Profile,
    available_profiles,
    choose_datasets,
    choose_systems,
    load_profile,
)

__all__ = [
    "CONTROL_IMAGE",
    "SEED_LIMIT",
    "Profile",
    "available_profiles",
    "choose_datasets",
    "choose_systems",
    "load_profile",
]
