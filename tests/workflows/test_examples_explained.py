"""Each key of the example screens has its line in the docs."""

from pathlib import Path

import pytest
import yaml

from workflows.spec import load_spec

ROOT = Path(__file__).parents[2]


def keys_of(section):
    for key, value in section.items():
        yield key
        if isinstance(value, dict):
            yield from keys_of(value)


@pytest.mark.parametrize("name", ["screen_files", "screen_li_mp", "screen_mg_mp"])
def test_each_key_of_an_example_has_its_line(name):
    path = ROOT / "examples" / f"{name}.yaml"
    assert load_spec(path).name == name
    docs = (ROOT / "docs" / "candidates.md").read_text("utf-8")
    (_, section) = docs.split(f"[`examples/{name}.yaml`]")
    table = section.split("\n\n")[1]
    missing = [
        key
        for key in keys_of(yaml.safe_load(path.read_text("utf-8")))
        if f"{key}:" not in table and f"`{key}`" not in table
    ]
    assert missing == []
