"""Project files: what they may hold, and the one line that each mistake ends in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixq.errors import UserError
from mixq.files import dump_yaml, load_yaml, load_yaml_lines
from mixq.networks import NetworkTable, network_names
from mixq.project_file import load_project, project_of, save_project
from mixq.project_template import project_template
from mixq.train_config import TrainConfig

#: Five lines; what is added begins in line 6.
BASE = """\
name: small
network: digits-cnn
data:
  name: digits
board: ultra96-v2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "p.yaml"
    path.write_text(text)
    return path


def refusal(folder: Path, text: str) -> str:
    """The line that a file ends in, without the file's path."""
    path = write(folder, text)
    with pytest.raises(UserError) as caught:
        load_project(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and "\n" not in message
    return message.removeprefix(str(path)).lstrip(", ")


@pytest.mark.parametrize(
    ("added", "line"),
    [
        ("tran:\n  epochs: 2\n", "line 6: tran is unknown; did you mean train?"),
        ("train:\n  batch: 8\n  epoch: 2\n", "line 8: train.epoch is unknown; did you mean epochs?"),
        ("train:\n  epochs: 0\n", "line 7: train.epochs must be positive, not 0"),
        ("train:\n  epochs: two\n", "line 7: train.epochs must be an integer, not 'two'"),
        ("train:\n  epochs: 2.0\n", "line 7: train.epochs must be an integer, not 2.0"),
        ("train:\n  epochs: true\n", "line 7: train.epochs must be an integer, not true"),
        ("train:\n  flip: 1\n", "line 7: train.flip must be true or false, not 1"),
        ("train:\n  momentum: .inf\n", "line 7: train.momentum must be a finite number, not inf"),
        ("train:\n  learning_rate: '1'\n", "line 7: train.learning_rate must be a number, not '1'"),
        ("train:\n  keep: first\n", "line 7: train.keep must be last or best, not 'first'"),
        ("train:\n", "line 6: train must be keys with values, not null"),
        (
            "train:\n  seed: 3\n",
            "line 7: train.seed stands at the top of the file, as seed, for both; move it",
        ),
        (
            "search:\n  distill_weight: 0.5\n",
            "line 7: search.distill_weight needs a teacher, which only mixq.training takes, from Python; remove it",
        ),
        ("search:\n  weight_widths: [2, x]\n", "line 7: search.weight_widths[2] must be an integer, not 'x'"),
        ("search:\n  act_widths: 4\n", "line 7: search.act_widths must be a list, such as [2, 4, 8], not 4"),
        (
            "search:\n  weight_widths: [4, 2]\n",
            "line 7: search.weight_widths must be ascending widths from 2 to 8, not [4, 2]",
        ),
        ("search:\n  points: 1\n", "line 7: search.points must be at least 2, not 1"),
        ("search:\n  tolerance: -0.5\n", "line 7: search.tolerance must not be negative, not -0.5"),
        ("search:\n  method: fast\n", "line 7: search.method must be budget or edmips, not 'fast'"),
        ("budget:\n  fps: 3\n  cycles: 4\n", "line 8: budget.cycles must be left out where fps is given, not 4"),
        ("budget:\n  share: 1.5\n", "line 7: budget.share must be above 0 and at most 1, not 1.5"),
        ("budget:\n  share: 0.0\n", "line 7: budget.share must be above 0 and at most 1, not 0.0"),
        ("budget:\n  dsp: -1\n", "line 7: budget.dsp must not be negative, not -1"),
        ("budget:\n  dsp: 3.5\n", "line 7: budget.dsp must be an integer, not 3.5"),
        ("budget:\n  residue_bits: 3\n", "line 7: budget.residue_bits must be 0, 1 or 2, not 3"),
        ("budget:\n  clock_mhz: 0.0\n", "line 7: budget.clock_mhz must be positive, not 0.0"),
        ("quantizer: lq\n", "line 6: quantizer must be hwgq, lsq, dorefa or dorefa-pow2, not 'lq'"),
        (
            "quantizer: dorefa\nweight_scale: channel\n",
            "line 7: weight_scale must be tensor for dorefa, whose steps the width fixes, not 'channel'",
        ),
        ("weight_scale: row\n", "line 6: weight_scale must be tensor or channel, not 'row'"),
        ("weight_range: wide\n", "line 6: weight_range must be full or narrow, not 'wide'"),
        ("seed: -1\n", "line 6: seed must not be negative, not -1"),
        ("model: a.b:c\n", "line 6: model must be left out where network is given, not 'a.b:c'"),
        ("input_shape: [1, 8, 0]\n", "line 6: input_shape must be three positive numbers, not [1, 8, 0]"),
        ("input_shape: [1, 8]\n", "line 6: input_shape[3] is missing; add it, as mixq init shows"),
        (
            "input_shape: [1, 2, 2]\n",
            "line 2: images of the shape 1,2,2 are too small for digits_cnn; give a larger input_shape",
        ),
        ("quick:\n  train:\n    epochs: -1\n", "line 8: quick.train.epochs must be positive, not -1"),
        ("quick:\n  train:\n    epoc: 1\n", "line 8: quick.train.epoc is unknown; did you mean epochs?"),
        ("quick:\n  data:\n    train_size: 0\n", "line 8: quick.data.train_size must be positive, not 0"),
        ("quick:\n  data:\n    root: x\n", "line 8: quick.data.root cannot be changed by quick; remove it"),
        ("quick:\n  board: x\n", "line 7: quick.board is unknown; known are data, search, train"),
        ("quick:\n  train: 3\n", "line 7: quick.train must hold keys with values, not 3"),
        (
            "layers: {conv9: {act_bits: 3}}\n",
            "line 6: digits_cnn has no layer 'conv9'; its layers are conv1, conv2, conv3, dense",
        ),
        ("layers:\n  conv1: {act_bits: 9}\n", "line 7: layers.conv1.act_bits must be from 2 to 8, not 9"),
        ("layers:\n  conv1: {bits: 3}\n", "line 7: layers.conv1.bits is unknown; did you mean act_bits?"),
        ("layers: 3\n", "line 6: layers must be keys with values, not 3"),
        ("quick: 3\n", "line 6: quick must hold keys with values, not 3"),
        ("seed: 1\nseed: 2\n", "line 7: key 'seed' stands twice"),
        ("x: *a\n", "line 6: aliases are not allowed"),
    ],
)
def test_a_mistake_is_one_line_with_its_place_and_the_fix(tmp_path: Path, added: str, line: str) -> None:
    assert refusal(tmp_path, BASE + added) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ": this is no project file; make one with: mixq init > project.yaml"),
        ("- 1\n", ": this is no project file; make one with: mixq init > project.yaml"),
        ("name: x\nnetwork: vgg-tiny\n", ": data is missing; add it, as mixq init shows"),
        ("name: x\ndata: {name: digits}\n", ": network must be given, or model: package.module:factory; not None"),
        (
            "name: ../x\nnetwork: vgg-tiny\ndata: {name: digits}\n",
            "line 1: name must be up to 100 letters, digits, '.', '_' and '-', a letter or digit first, not '../x'",
        ),
        (
            "name: x\nnetwork: vgg\ndata: {name: digits}\n",
            f"line 2: no network is called 'vgg'; choose one of {', '.join(network_names())}",
        ),
        (
            "name: x\nmodel: vgg\ndata: {name: digits}\n",
            "line 2: model must be package.module:factory, not 'vgg'",
        ),
        (
            "name: x\nmodel: nowhere.at_all:table\ndata: {name: digits}\n",
            "line 2: model nowhere.at_all:table: cannot import nowhere.at_all "
            "(ModuleNotFoundError: No module named 'nowhere'); install it, or put its folder on PYTHONPATH",
        ),
        (
            "name: x\nmodel: mixq.networks:table\ndata: {name: digits}\n",
            "line 2: model mixq.networks:table: mixq.networks has no function 'table'; check the name",
        ),
        (
            "name: x\nmodel: mixq.networks:network_names\ndata: {name: digits}\n",
            "line 2: model mixq.networks:network_names: must return a torch.nn.Module or a mixq.networks.NetworkTable, "
            "not tuple",
        ),
        (
            "name: x\nmodel: mixq.networks:network\ndata: {name: digits}\n",
            "line 2: model mixq.networks:network: the function fails (TypeError: network() missing 1 required "
            "positional argument: 'name'); mend it",
        ),
        (
            "name: x\nnetwork: vgg-tiny\ndata:\n  name: cifar10\n  options:\n    a: [1]\n",
            "line 6: data.options.a must be a text, a number, true or false, not [1]",
        ),
        (
            "name: x\nnetwork: vgg-tiny\ndata:\n  name: cifar10\n  options:\n    train_size: 3\n",
            "line 5: data.options must leave train_size to the key of that name beside it, not {'train_size': 3}",
        ),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text).lstrip() == line.lstrip()


@pytest.mark.parametrize("name", network_names())
def test_what_init_writes_loads_as_it_is_in_both_forms(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, project_template(name))
    whole, quick = load_project(path), load_project(path, quick=True)
    assert whole.table().name == name
    assert quick.train.epochs < whole.train.epochs and quick.search.epochs < whole.search.epochs
    assert quick.search.weight_widths == (2, 4, 8) and whole.search.weight_widths == (2, 3, 4, 5, 6, 7, 8)
    assert whole.data.root is None or whole.data.root.parent == tmp_path / "data"
    assert whole.search.method == "budget"
    table = whole.table()
    assert isinstance(table, NetworkTable)
    places = {(1, 8, 8): "digits", (3, 32, 32): "cifar10", (3, 160, 320): "dacsdc"}
    assert whole.data.name == places.get(table.input_shape, "my_data:load")


@pytest.mark.parametrize("name", ["digits", "cifar10-vgg-tiny", "dacsdc-ultranet"])
def test_the_examples_load(root: Path, name: str) -> None:
    path = root / "examples" / f"{name}.yaml"
    project = load_project(path, quick=True)
    assert (project.name, project.board) == (name, "ultra96-v2")
    if name != "digits":
        assert project.data.root is not None and project.data.root.resolve() == root / "data" / name.partition("-")[0]
        assert project.data.train_size == (2000 if name == "cifar10-vgg-tiny" else 200)
    if name == "dacsdc-ultranet":
        whole = load_project(path).train
        assert (whole.crop, whole.brightness, whole.contrast, whole.saturation) == (0.3, 0.2, 0.2, 0.2)


def test_the_first_images_alone(root: Path) -> None:
    project = load_project(root / "examples" / "dacsdc-ultranet.yaml")
    first = project.with_first(8).data
    assert (first.train_size, first.validation_size, first.test_size) == (1, 1, 8)
    assert load_project(root / "examples" / "dacsdc-ultranet.yaml", quick=True).with_first(60).data.test_size == 50
    digits = load_project(root / "examples" / "digits.yaml")
    assert digits.with_first(8) == digits, "a loader that knows no sizes reads everything anyway"


def test_values_reach_the_project(tmp_path: Path) -> None:
    text = BASE.replace("ultra96-v2", "boards/mine.yaml") + (
        "seed: 7\nbudget: {fps: 1e6, dsp: 10}\ntrain: {epochs: 3, learning_rate: 1}\n"
        "search: {epochs: 5, act_widths: [2, 4]}\nquick: {train: {epochs: 1}, data: {test_size: 9}}\n"
    )
    path = write(tmp_path, text)
    project = load_project(path)
    assert project.train == TrainConfig(epochs=3, learning_rate=1, seed=7)
    assert project.search.recipe == TrainConfig(epochs=5, batch=128, seed=7)
    assert project.search.settings["act_widths"] == (2, 4) and "epochs" not in project.search.settings
    assert (project.budget.cycles_at(300.0), project.budget.dsp) == (300, 10)
    assert project.board == str(tmp_path / "boards/mine.yaml")
    quick = load_project(path, quick=True, seed=9)
    assert (quick.train.epochs, quick.train.learning_rate, quick.train.seed) == (1, 1, 9)
    assert (quick.data.test_size, quick.search.seed) == (9, 9)
    with pytest.raises(UserError, match=r"^--seed must not be negative, not -1$"):
        load_project(path, seed=-1)


def test_a_build_remembers_its_project(tmp_path: Path) -> None:
    text = BASE + "quick: {train: {epochs: 1}}\nbudget: {cycles: 100}\ninput_shape: [1, 12, 12]\n"
    project = load_project(
        write(tmp_path, text.replace("  name: digits\n", "  name: cifar10\n  root: x\n")), quick=True
    )
    (tmp_path / "build").mkdir()
    save_project(project, tmp_path / "build")
    again = load_project(tmp_path / "build" / "project.yaml")
    assert again == project and again.data.root == tmp_path / "x"
    assert project_of(project.document(), seed=5).train.seed == 5


def test_lines_of_keys_and_entries(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\nb:\n  c:\n    - x\n    - y: 2\n")
    document, lines = load_yaml_lines(path)
    assert document == load_yaml(path) == {"a": 1, "b": {"c": ["x", {"y": 2}]}}
    assert lines == {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "c", 0): 4, ("b", "c", 1): 5, ("b", "c", 1, "y"): 5}
    assert load_yaml_lines(write(tmp_path, "")) == (None, {})
    assert load_yaml(write(tmp_path, dump_yaml({"on": 1}))) == {"on": 1}


def test_a_project_is_read_without_torch_and_training_without_pydantic(tmp_path: Path) -> None:
    path = write(tmp_path, BASE)
    code = "import sys\nfrom pathlib import Path\nfrom mixq.project_file import load_project\n"
    code += "load_project(Path(sys.argv[1])); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, path], check=True)
    subprocess.run(
        [sys.executable, "-c", "import sys, mixq.training; assert 'pydantic' not in sys.modules"], check=True
    )
