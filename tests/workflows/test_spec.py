import pytest

from stores.errors import BadInput
from workflows.spec import load_spec

GOOD = """
name: screen_li
working_ion: Li
candidates: {source: catalogue}
"""


def write(tmp_path, text):
    path = tmp_path / "screen.yaml"
    path.write_text(text)
    return path


def test_defaults_are_a_whole_screen_without_dear_stages(tmp_path):
    spec = load_spec(write(tmp_path, GOOD))
    assert spec.hops.dimension == 1
    assert spec.mace_neb is None
    assert spec.dft_neb is None
    assert spec.rank.temperature == 300


def test_screen_id_names_the_candidates_and_not_the_later_stages(tmp_path):
    spec = load_spec(write(tmp_path, GOOD))
    later = load_spec(write(tmp_path, GOOD + "rank: {temperature: 400}\n"))
    other = load_spec(write(tmp_path, GOOD.replace("Li\n", "Na\n")))
    assert spec.screen_id == later.screen_id
    assert spec.screen_id != other.screen_id


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", ["holds no settings", "name, working_ion and candidates"]),
        ("- 1\n- 2\n", ["holds no settings"]),
        ("name: [unclosed\n", ["line 2, column 1", "not valid YAML"]),
        ("name: a\nname: b\n", ["line 2, column 1", "'name' is given twice"]),
        (GOOD + "hops: {max_lenght: 6}\n", ["hops.max_lenght", "did you mean 'max_length'?"]),
        (GOOD + "mace_neb: {tpo: 6}\n", ["mace_neb.tpo", "did you mean 'top'?"]),
        (GOOD + "mace_nebb: {top: 6}\n", ["mace_nebb: unknown key", "did you mean 'mace_neb'?"]),
        (GOOD + "hops: {max_length: 6.5 nm}\n", ["hops.max_length", "'6.5 nm'", "a number in Å"]),
        (GOOD + "hops: {max_length: 65}\n", ["hops.max_length", "65", "less than or equal to 12"]),
        (GOOD + "hops: {dimension: 4}\n", ["hops.dimension", "4", "1, 2 or 3"]),
        (GOOD + "mace_neb: {images: 0}\n", ["mace_neb.images", "'auto' or from 1 to 25"]),
        (GOOD + "rank: {temperature: -3}\n", ["rank.temperature", "-3", "a number in K"]),
        (GOOD.replace("Li\n", "Xx\n"), ["working_ion: 'Xx' is no known working ion", "Li, Na"]),
        (GOOD.replace("name: screen_li", "title: x"), ["name: is missing"]),
        (
            GOOD.replace("source: catalogue", "source: catalog"),
            ["candidates", "catalog", "catalogue", "files"],
        ),
        (
            GOOD.replace("source: catalogue", "source: catalogue, idz: [a]"),
            ["candidates.idz: unknown key", "did you mean 'ids'?"],
        ),
    ],
)
def test_a_mistake_is_one_line_with_file_field_and_remedy(tmp_path, text, parts):
    path = write(tmp_path, text)
    with pytest.raises(BadInput) as caught:
        load_spec(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_a_missing_file_and_a_binary_one_are_told_apart(tmp_path):
    with pytest.raises(BadInput, match="No such file"):
        load_spec(tmp_path / "no.yaml")
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BadInput, match="is not text"):
        load_spec(binary)
