"""Code of the user's that a recipe names as `module:name`: where its file is, and the module itself.

It comes from the recipe's folder or from an installed package, and runs with all rights of the pipeline: a recipe is as trusted as code.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def locate(module: str, folder: Path) -> Path | None:
    """The file of a module, without importing anything: below `folder` first, else among installed packages; None if there is none."""
    parts = module.split(".")
    below = [folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py")]
    package = importlib.util.find_spec(parts[0]) if parts[0] not in sys.builtin_module_names else None
    for root in package.submodule_search_locations or () if package else ():
        below += [Path(root).joinpath(*parts[1:]).with_suffix(".py"), Path(root).joinpath(*parts[1:], "__init__.py")]
    if package is not None and package.origin and len(parts) == 1:
        below.append(Path(package.origin))
    return next((path for path in below if path.is_file() and path.suffix == ".py"), None)


def load(module: str, folder: Path) -> ModuleType:
    """Import the file that `locate` finds. Imports of the module itself are Python's usual ones.

    Raises:
        ModuleNotFoundError: there is no such file.
    """
    path = locate(module, folder)
    if path is None:
        raise ModuleNotFoundError(f"No module {module} in {folder} or among installed packages.")
    known = sys.modules.get(module)
    if known is not None and getattr(known, "__file__", None) == str(path):
        return known
    spec = importlib.util.spec_from_file_location(module, path)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"{path} cannot be imported as Python.")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[module] = loaded
    spec.loader.exec_module(loaded)
    return loaded
