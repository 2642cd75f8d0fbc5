"""Recipes: the settings and seeds behind every shipped weight, and their reader."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from em_model.errors import BadInput

Recipe = TypeVar("Recipe")


def load_recipe(name_or_path: str | Path, kind: type[Recipe], stage: str) -> Recipe:
    """Read a recipe by the name of a shipped one or from a YAML file.

    Parameters
    ----------
    name_or_path
        ``pretrain``, ``finetune`` … or a path that ends in ``.yaml``.
    kind
        Dataclass to fill; keys left out keep its defaults.
    stage
        What the file's ``stage`` must say.

    Raises
    ------
    BadInput
        When the file is missing, not YAML, of another stage, or holds an unknown key.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = Path(str(files("em_model") / "recipes" / f"{name_or_path}.yaml"))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        shipped = sorted(p.stem for p in Path(__file__).parent.glob("*.yaml"))
        raise BadInput(
            f"{name_or_path}: no such recipe; give a .yaml file or one of {', '.join(shipped)}"
        ) from error
    except yaml.YAMLError as error:
        raise BadInput(f"{path}: not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or content.pop("stage", None) != stage:
        raise BadInput(f"{path}: stage: must say {stage!r} here")
    recipe: Recipe = fill(kind, content, str(path))
    return recipe


def fill(kind: Any, content: Any, path: str, prefix: str = "") -> Any:
    """Fill a dataclass, and those in it, with what a file or a model card says.

    Raises
    ------
    BadInput
        When a key is unknown or a value of the wrong type.
    """
    if not isinstance(content, dict):
        raise BadInput(f"{path}: {prefix.rstrip('.') or 'file'}: need keys and values")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    values = {}
    for key, value in content.items():
        if key not in names:
            near = get_close_matches(str(key), names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(names)}"
            raise BadInput(f"{path}: {prefix}{key}: unknown key; {hint}")
        wanted = hints[key]
        if is_dataclass(wanted):
            values[key] = fill(wanted, value, path, f"{prefix}{key}.")
        elif wanted is float and isinstance(value, int) and not isinstance(value, bool):
            values[key] = float(value)
        elif wanted in (int, float, str, bool) and type(value) is not wanted:
            raise BadInput(f"{path}: {prefix}{key}: {value!r} is not {wanted.__name__}")
        else:
            values[key] = tuple(value) if isinstance(value, list) else value
    return kind(**values)
