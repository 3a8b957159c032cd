"""A folder of pictures is streamed: checking and reading it batch by batch does not take the memory of all of it."""

import subprocess
import sys
from pathlib import Path

from PIL import Image

COUNT, SIDE = 400, 600
DECODED_MIB = COUNT * SIDE * SIDE * 3 / 2**20

READ = """
import sys, threading, psutil
from headway_contract.preprocessing import ImageSpec
from headway_training.datasets import load_splits
from headway_training.recipe import DataRecipe

def watch():
    while not done.wait(0.002):
        sizes.append(process.memory_info().rss)

process, done = psutil.Process(), threading.Event()
sizes = [process.memory_info().rss]
watcher = threading.Thread(target=watch)
watcher.start()
folder, side, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
recipe = DataRecipe(dataset="folder", folder=folder, validation=0.1)
train = load_splits(recipe, ImageSpec(side, side, 3), 1, None).train
read = 0
for start in range(0, len(train), batch):
    read += len(train.pictures.read(range(start, min(start + batch, len(train)))))
done.set()
watcher.join()
print(read, (max(sizes) - sizes[0]) / 2**20)
"""


def mebibytes_to_read(folder: Path, batch: int) -> float:
    """How much a fresh process grows by checking the folder and reading its training pictures in batches."""
    command = [sys.executable, "-c", READ, str(folder), str(SIDE), str(batch)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    read, grown = run.stdout.split()
    assert int(read) == round(COUNT * 0.7)
    return float(grown)


def test_memory_is_that_of_a_batch_and_not_of_all_pictures(tmp_path: Path) -> None:
    for number in range(COUNT):
        file = tmp_path / "ab"[number % 2] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (SIDE, SIDE), (number % 256, number // 256, 7)).save(file, compress_level=1)
    # 412 MiB decoded; a batch of eight has 8, and each thread a picture in the making.
    assert mebibytes_to_read(tmp_path, batch=8) < DECODED_MIB / 4
    # The measure itself: whoever asks for all at once gets all at once.
    assert mebibytes_to_read(tmp_path, batch=COUNT) > DECODED_MIB / 2
