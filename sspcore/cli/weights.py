"""`sspcore weights [--fetch]`: which pretrained weights a profile needs, where they are, and fetching them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from sspcore.core.checksums import require_checksum, sha256
from sspcore.core.errors import SspError
from sspcore.models.weight_files import LightGlueWeights, RaftWeights, Weights, encoder_weights
from sspcore.study.profiles import Profile, load_profile


def needed(profile: Profile) -> Iterator[Weights]:
    """The weights that a profile loads; LightGlue's only where it names that registration."""
    for role, spec in profile.models.items():
        if spec.weights != "none":
            yield encoder_weights(role, spec)
    if any(name.startswith("raft") for name in (profile.flow, profile.metric_flow)):
        yield RaftWeights()
    if profile.registration == "lightglue":
        yield LightGlueWeights()


def _describe(weights: Weights) -> Iterator[str]:
    files = weights.found()
    if not files:
        yield f"missing  {weights.name:<34} {weights.role:<14} {weights.source}"
    for path in files:
        yield f"there    {weights.name:<34} {weights.role:<14} {path} ({path.stat().st_size / 1e6:.1f} MB)"
        yield f"         sha256 {sha256(path)}"


def main(arguments: list[str] | None = None) -> int:
    """List or fetch; status 2 if something could not be fetched."""
    parser = argparse.ArgumentParser(prog="python -m sspcore.models.weight_files", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="paper", help="whose weights (default: paper)")
    parser.add_argument("--fetch", action="store_true", help="fetch what is missing into data/weights/")
    parser.add_argument("--lightglue", action="store_true", help="DISK and LightGlue too, whatever the profile registers with")
    options = parser.parse_args(arguments)
    failed = False
    try:
        wanted = list(needed(load_profile(options.profile)))
    except SspError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if options.lightglue and LightGlueWeights() not in wanted:
        wanted.append(LightGlueWeights())
    for weights in wanted:
        try:
            for path in weights.found():
                require_checksum(path)
            if options.fetch and not weights.in_place():
                weights.fetch()
        except SspError as error:
            print(f"error: {error}", file=sys.stderr)
            failed = True
        print("\n".join(_describe(weights)), flush=True)
    return 2 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
