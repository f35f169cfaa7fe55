"""A data set is a file. UAVid and RuralScapes (paper, section 4; METHOD section 8) are two that come with the package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote

from sspcore.core.errors import ReleaseError
from sspcore.data.datasets.reading import EXAMPLE, FILE_NAME, slug, title_of
from sspcore.data.datasets.reading import read_spec as read_spec
from sspcore.data.datasets.spec import DatasetSpec as DatasetSpec
from sspcore.data.datasets.spec import FileKind as FileKind
from sspcore.data.datasets.vdd import VDD_ROOF as VDD_ROOF
from sspcore.data.datasets.vdd import VDD_WATER as VDD_WATER
from sspcore.data.datasets.vdd import merge_vdd as merge_vdd

SPECS = {name: replace(read_spec(EXAMPLE.with_name(f"{name}.yaml")), root=None) for name in ("uavid", "ruralscapes")}
UAVID, RURALSCAPES = SPECS.values()


def file_of(spec: DatasetSpec) -> Path | None:
    """The file that describes one's own data, as `open_dataset` takes it; None of a published data set."""
    if spec.root is None:
        return None
    files = [path for path in sorted(spec.root.glob("*.y*ml")) if slug(title_of(path)) == spec.name]
    return next(iter(files), spec.root)


def open_dataset(source: Path | str) -> DatasetSpec:
    """A data set by name, or as its file describes it.

    Args:
        source: "uavid" or "ruralscapes", the path of a YAML file, or a folder that holds a dataset.yaml.
    Raises: ReleaseError naming the file, the setting, what is wrong with it and what to do.
    """
    if str(source) in SPECS:
        return SPECS[str(source)]
    path = Path(source)
    if path.is_dir():
        path /= FILE_NAME
        if not path.is_file():
            write = f"sspcore init-dataset {quote(str(path.parent))}"
            raise ReleaseError(f"{path}: no such file; write one ({write}), or name another")
    elif not path.is_file():
        names = ", ".join(SPECS)
        raise ReleaseError(f"{path}: no such file; give {names}, a YAML file or a folder with {FILE_NAME} in it")
    elif path.suffix.lower() not in (".yaml", ".yml"):
        raise ReleaseError(f"{path}: not a .yaml file; give the file that describes the data set")
    spec = read_spec(path)
    if spec.name in SPECS:
        raise ReleaseError(f"{path}: {spec.name} is the name of a data set that comes with sspcore; rename the file")
    return spec
