"""A commented project file for each network, which loads as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mixq.networks import NetworkTable, network


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What a network's project starts from: lines of ``data``, of the recipes, and of the quick form."""

    data: str
    budget: str
    search: str
    train: str
    quick: str


_DIGITS = _Start(
    data="""\
  name: digits              # handwritten digits that come with scikit-learn; needs no root
""",
    budget="""\
  fps: 1000000              # frames per second, at least; or cycles: of a frame, at most; with neither, see tolerance
  dsp: 40                   # at most so many DSPs, of 18 x 27 bits; all of the board's by default
  lut: 10000                # at most so many look-up tables; all of the board's by default
""",
    search="""\
  epochs: 10
  batch: 32                 # images
  learning_rate: 0.05       # at the start; it falls along half a cosine
""",
    train="""\
  epochs: 30
  batch: 32                 # images
  learning_rate: 0.05       # at the start; it falls along half a cosine
""",
    quick="""\
  search:
    epochs: 2
    weight_widths: [2, 4, 8]
    act_widths: [2, 4, 8]
    refinements: 0
    points: 4
  train: {epochs: 6}
""",
)

_CIFAR10 = _Start(
    data="""\
  name: cifar10
  # A folder or file of CIFAR-10, relative to this file. To get it:
  #   mkdir -p data/cifar10 && cd data/cifar10 && wget https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz
  # An .npz file of its JPEG images does as well, such as root: cifar10_jpeg_train50k.npz; docs/data.md has all forms.
  root: data/cifar10
  # train_size: 45000       # images; the first so many of a part alone; likewise validation_size and test_size
""",
    budget="""\
  fps: 3000                 # frames per second, at least; or cycles: of a frame, at most; with neither, see tolerance
  # dsp: 360                # at most so many DSPs; all of the board's by default; likewise lut, and bram (36 Kb each)
""",
    search="""\
  epochs: 30
  batch: 128                # images
  learning_rate: 0.02       # the highest; it falls along half a cosine
  warmup: 300               # steps in which it rises to that
  shift: 4                  # pixels by which images move at random
  flip: true                # mirror every other image
""",
    train="""\
  epochs: 150
  batch: 128                # images
  learning_rate: 0.02       # the highest; it falls along half a cosine
  warmup: 300               # steps in which it rises to that
  weight_decay: 0.0005
  shift: 4                  # pixels by which images move at random
  flip: true                # mirror every other image
""",
    quick="""\
  data: {train_size: 2000, validation_size: 500, test_size: 1000}
  search:
    epochs: 4
    batch: 64
    learning_rate: 0.01
    warmup: 16
    threads: 2
    weight_widths: [2, 4, 8]
    act_widths: [2, 4, 8]
    samples: 250
    refinements: 0
    points: 4
  train: {epochs: 6, batch: 64, learning_rate: 0.01, warmup: 16, threads: 2}
""",
)

_DACSDC = _Start(
    data="""\
  name: dacsdc              # images with one box each
  # A folder or .zip file of images and their boxes, relative to this file; docs/data.md has the forms.
  root: data/dacsdc
  # train_size: 60000       # images; the first so many of a part alone; likewise validation_size and test_size
  options:
    height: 160             # pixels, of the images that the network sees
    width: 320
    # cache_dir: /tmp/dacsdc  # where images that take more than 1 GiB are written, resized
""",
    budget="""\
  fps: 1000                 # frames per second, at least; or cycles: of a frame, at most; with neither, see tolerance
  # dsp: 360                # at most so many DSPs; all of the board's by default; likewise lut, and bram (36 Kb each)
""",
    search="""\
  epochs: 20
  batch: 32                 # images
  learning_rate: 0.01       # at the start; it falls along half a cosine
  shift: 0                  # pixels by which images move at random
  flip: true                # mirror every other image
""",
    train="""\
  epochs: 100
  batch: 32                 # images
  learning_rate: 0.01       # at the start; it falls along half a cosine
  shift: 0                  # pixels by which images move at random
  flip: true                # mirror every other image
""",
    quick="""\
  data: {train_size: 200, validation_size: 50, test_size: 50}
  search:
    epochs: 1
    threads: 2
    weight_widths: [2, 4, 8]
    act_widths: [2, 4, 8]
    samples: 50
    refinements: 0
    points: 4
  train: {epochs: 2, threads: 2}
""",
)

_OWN = replace(
    _DACSDC,
    data="""\
  # MixQ has no data set of this network's images: name a function of yours that returns one, see docs/data.md.
  name: my_data:load
  # options: {}             # arguments of the function
""",
)

_FILE = """\
# A project of MixQ. Paths are relative to this file. All keys are in docs/project-file.md.
#
#   mixq search FILE        finds the widths of every layer, into build/{name}/bits.yaml
#   mixq train FILE         trains the network with them and turns it into integers, in build/{name}
#   mixq test build/{name}
#
# Either takes --quick, for a first look within minutes.

name: {name}
network: {network}
data:
{start.data}
board: ultra96-v2           # or a board file of your own, such as boards/mine.yaml
budget:
{start.budget}  share: 1.0                # of the board's resources that may be taken, 0..1
  # clock_mhz: 300          # MHz of the fabric; the board's own by default
  residue_bits: 2           # 0..2; more is denser, for some look-up tables

quantizer: lsq              # steps of weights and activations: learned (lsq) or fixed for Gaussian values (hwgq)
weight_range: narrow        # weights of 4 bits and more without the most negative value, which packs denser; or full
seed: 0                     # of the search and the training

search:
  method: budget            # or edmips, the published method
  weight_widths: [2, 3, 4, 5, 6, 7, 8]   # bits that weights may have
  act_widths: [2, 3, 4, 5, 6, 7, 8]      # bits that each layer's input may have
  tolerance: 0.05           # without a budget: the fastest widths whose predicted loss is so close to the least
{start.search}
train:
{start.train}
# What --quick changes.
quick:
{start.quick}"""


def project_template(name: str) -> str:
    """Text of a project file for a network.

    Raises:
        UserError: no network is called so.
    """
    table = network(name)
    return _FILE.format(name=table.name.replace("_", "-"), network=table.name, start=_start(table))


def _start(table: NetworkTable) -> _Start:
    """By the images: what a network of the tables is for follows from them."""
    starts = {(1, 8, 8): _DIGITS, (3, 32, 32): _CIFAR10, (3, 160, 320): _DACSDC}
    return starts.get(table.input_shape, _OWN)
