"""Runs the accelerator: frames of a file, images of a folder, or as fast as it goes.

python run.py --inputs frames.npy --outputs integers.npy
python run.py --images folder          mean IoU of the boxes, with an annotation beside each image
python run.py --throughput
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from boards.driver import Accelerator, AcceleratorError

HERE = Path(__file__).resolve().parent


def main() -> None:
    """Do what the command line asks for; a fault of the accelerator ends in one line and status 1."""
    parser = argparse.ArgumentParser(description="Runs the accelerator of this folder.")
    parser.add_argument("--bitstream", default=str(HERE / "mixq.bit"), help="the bitstream, mixq.bit by default")
    parser.add_argument("--batch", type=int, default=16, help="frames of a packet, 16 by default")
    parser.add_argument("--inputs", help="frames, integers (N, C, H, W), as a .npy file")
    parser.add_argument("--outputs", help="where their integers go, int64 (N, C, H, W), as a .npy file")
    parser.add_argument("--images", help="a folder of images with annotations")
    parser.add_argument("--throughput", action="store_true", help="measure the speed with random frames")
    given = parser.parse_args()
    if (given.inputs is None) != (given.outputs is None):
        parser.error("--inputs and --outputs go together")
    if not (given.inputs or given.images or given.throughput):
        parser.error("give --inputs, --images or --throughput")
    try:
        with Accelerator(given.bitstream, batch_size=given.batch) as accelerator:
            if given.inputs:
                np.save(given.outputs, accelerator.execute(np.load(given.inputs)))
            if given.images:
                found = accelerator.iou_on_folder(given.images)
                sys.stdout.write(f"mean IoU {found['mean_iou']:.6f} of {len(found['images'])} images\n")
            if given.throughput:
                sys.stdout.write(json.dumps(accelerator.throughput_test(), indent=2) + "\n")
    except AcceleratorError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
