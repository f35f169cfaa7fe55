"""Files of profiles, which may say only what differs from another one (`extends`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sspcore.core.errors import ProfileError
from sspcore.core.yaml_files import read_mapping

PROFILE_FOLDER = Path(__file__).parent
Tree = dict[str, Any]


def available_profiles() -> list[str]:
    """Names of the profiles that ship with the package."""
    return sorted(path.stem for path in PROFILE_FOLDER.glob("*.yaml"))


def read_settings(name: str) -> tuple[Tree, str]:
    """The settings of a profile, together with those of the files that it extends; and what was read, for errors.

    A file that says `extends: NAME` (a shipped profile, or a path relative to the file) holds changes. Mappings merge,
    other values replace, and so does an image model of another kind (`smp`, `torchvision`). What it says of a recipe holds for
    the recipe's data sets too ("video" for "video@uavid"), unless it says otherwise of these itself, and its `systems` hold for
    data sets of one's own too. Name, description and
    `publish_to` are never inherited: the name is the file's by default, and nothing is published by default.

    Args:
        name: a shipped profile, or the path of a YAML file.
    Raises: ProfileError for an unknown name, an unreadable file, or files that extend each other in a circle.
    """
    path = _find(name, Path())
    if path is None:
        raise ProfileError(f"profile '{name}' is unknown; choose from {', '.join(available_profiles())} or a YAML file")
    tree, files = _read(path, ())
    return _with_whole_recipes(tree), " extends ".join(each.name for each in files)


def override(tree: Tree, dotted: str, value: Any, source: str) -> None:
    """Change one setting in place; one of a recipe is changed for its data sets too (`training.video.lr`).

    Raises: ProfileError if there is no such setting; `source`: where the tree was read.
    """
    *parents, last = dotted.split(".")
    node = dig(tree, ".".join(parents)) if parents else tree
    if not isinstance(node, dict) or last not in node:
        raise ProfileError(f"profile {source}: override '{dotted}' names no existing setting; correct the key")
    node[last] = value
    if dotted == "systems":
        tree |= _with_own_systems(tree, value)
    if parents[:1] == ["training"] and len(parents) > 1:
        for key in [key for key in tree["training"] if key.startswith(f"{parents[1]}@")]:
            dig(tree, ".".join(["training", key, *parents[2:]]))[last] = value


def dig(tree: Any, dotted: str) -> Any:
    """What lies at a dotted setting of a tree. Raises: ProfileError if there is none."""
    for part in dotted.split("."):
        if not isinstance(tree, dict) or part not in tree:
            raise ProfileError(f"profile setting '{dotted}' does not exist (no '{part}')")
        tree = tree[part]
    return tree


def _find(name: str, folder: Path) -> Path | None:
    path = PROFILE_FOLDER / f"{name}.yaml" if name in available_profiles() else folder / name
    return path if path.suffix in (".yaml", ".yml") and path.is_file() else None


def _read(path: Path, readers: tuple[Path, ...]) -> tuple[Tree, list[Path]]:
    """The settings of a file and of those that it extends, and these files; `readers`: those that extend this one."""
    readers = (*readers, path)
    tree = _mapping(path)
    if "extends" not in tree:
        return tree, [path]
    name = tree.pop("extends")
    origin = _find(name, path.parent) if isinstance(name, str) else None
    if origin is None:
        known = f"{', '.join(available_profiles())}, or a YAML file relative to this one"
        raise ProfileError(f"{path.name}: extends: {name!r} is unknown; choose from {known}")
    if origin.resolve() in [reader.resolve() for reader in readers]:
        circle = " extends ".join(each.name for each in (*readers, origin))
        raise ProfileError(f"{path.name}: extends: goes in a circle ({circle}); take one of them out")
    base, files = _read(origin, readers)
    if isinstance(base.get("conventions"), str) and isinstance(tree.get("conventions"), dict):
        base |= {"conventions": {"base": base["conventions"]}}  # single readings go on from what it names
    if "systems" in tree:
        base = _with_own_systems(base, tree["systems"])
    own = {"name": path.stem, "description": f"{base.get('name')}, with the changes of {path.name}", "publish_to": None}
    return _merged(_without_replaced_models(_without_changed_recipes(base, tree), tree), own | tree), [path, *files]


def _mapping(path: Path) -> Tree:
    try:
        return read_mapping(path)
    except ValueError as error:
        raise ProfileError(f"{path.name}: {error}") from error


def _merged(base: Any, changes: Any) -> Any:
    """`base` with `changes` put over it; neither is changed."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return changes
    return base | {key: _merged(base[key], value) if key in base else value for key, value in changes.items()}


def _without(base: Any, changes: Any) -> Any:
    """`base` without the settings that `changes` names."""
    if not (isinstance(base, dict) and isinstance(changes, dict)):
        return base
    inner = {key: value for key, value in base.items() if key not in changes}
    nested = {key: _without(base[key], value) for key, value in changes.items() if isinstance(value, dict) and key in base}
    return inner | {key: value for key, value in nested.items() if isinstance(value, dict)}


def _without_changed_recipes(base: Tree, changes: Tree) -> Tree:
    """`base` without what its recipes of single data sets say of settings that `changes` gives to the recipe itself."""
    recipes, changed = base.get("training"), changes.get("training")
    if not (isinstance(recipes, dict) and isinstance(changed, dict)):
        return base
    return base | {"training": {
        name: _without(recipe, changed.get(name.partition("@")[0])) if "@" in str(name) else recipe
        for name, recipe in recipes.items()
    }}


def _without_replaced_models(base: Tree, changes: Tree) -> Tree:
    """`base` without the image models in whose place `changes` names a network of another kind: their settings are not its."""
    models, changed = base.get("models"), changes.get("models")
    if not (isinstance(models, dict) and isinstance(changed, dict)):
        return base

    def network(model: Any) -> list[Any]:
        return [model.get(name) for name in ("smp", "torchvision")] if isinstance(model, dict) else []

    def replaced(role: str) -> bool:
        model = changed.get(role)
        names_one = isinstance(model, dict) and not model.keys().isdisjoint(("smp", "torchvision", "encoder"))
        return names_one and network(model) != network(models[role])

    return base | {"models": {role: model for role, model in models.items() if not replaced(role)}}


def _with_own_systems(tree: Tree, systems: Any) -> Tree:
    """`tree`, whose `systems` have been changed: the choice holds for data sets of one's own too."""
    return tree | {"own": tree["own"] | {"systems": systems}} if isinstance(tree.get("own"), dict) else tree


def _with_whole_recipes(tree: Tree) -> Tree:
    """The recipe of a data set ("video@uavid") says what differs from the recipe ("video"), if there is one."""
    recipes = tree.get("training")
    if not isinstance(recipes, dict):
        return tree
    return tree | {"training": {
        name: _merged(recipes.get(str(name).partition("@")[0]), recipe) if "@" in str(name) else recipe
        for name, recipe in recipes.items()
    }}
