"""An exported densenet121 in torchvision, by the code of docs/model.md as it stands there.

usage: python tests/oracle/check_export.py SWEEP FOLDER

SWEEP is the program. In FOLDER pictures are made, a densenet121 is trained on them for an epoch and exported; every picture is scored by
`sweep predict` and by the code of the page. Every other picture is a PNG of the network's size, whose pixels nobody changes: there a score may
differ by 1e-5. The others are decoded and resized by sweep here and by Pillow there, which differ by a level of 255 in some pixels. Exit
status 1 where a score, or a label that rounding does not explain, differs by more.
"""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sweep, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
page = (Path(__file__).parents[2] / "docs" / "model.md").read_text()
code = re.search(r"```python\n(.*?)```", page, re.S).group(1)
SIZE = 64
FILE = f"""
name = "exported"
[data]
kind = "images"
root = "photos"
labels = "labels.csv"
image_size = {SIZE}
[model]
arch = "densenet121"
[train]
epochs = 1
batch_size = 16
[grid]
threshold = [0.5, "max_f1"]
"""

(folder / "photos").mkdir(parents=True, exist_ok=True)
os.chdir(folder)
rng = np.random.default_rng(0)
rows = []
for number in range(80):
    red, wide = rng.random() < 0.4, rng.random() < 0.6
    height, width = (50 + number % 30, 60 + number % 40) if number % 2 else (SIZE, SIZE)
    pixels = rng.integers(0, 90, (height, width, 3), dtype=np.uint8)
    pixels[10:30, 10 : 50 if wide else 25, 0 if red else 1] = 230
    name = f"{number}.{'jpg' if number % 4 == 1 else 'png'}"
    Image.fromarray(pixels).save(Path("photos") / name)
    rows.append([name, int(red), int(wide)])
with open("labels.csv", "w", newline="") as file:
    csv.writer(file).writerows([["path", "red", "wide"], *rows])
Path("sweep.toml").write_text(FILE)


def run(*arguments):
    return subprocess.run([sweep, *arguments], check=True, capture_output=True, text=True).stdout


run("run", "sweep.toml", "--quiet")
run_name = run("report", "--format", "csv").splitlines()
names = [cell for line in run_name for cell in line.replace('"', ",").split(",") if re.fullmatch("[0-9a-f]{32}", cell)]
name = names[0] if names else next(path.name for path in Path("sweep.runs").iterdir() if re.fullmatch("[0-9a-f]{32}", path.name))
run("export", name, "--to", "model", "--force")
found = {row["id"]: row for row in csv.DictReader(run("predict", "model", "photos").splitlines())}
page_code = {}
exec(code, page_code)
worst = {"as they are": 0.0, "resized or JPEG": 0.0}
limit = dict(zip(worst, (1e-5, 1e-2)))
for path, row in found.items():
    theirs = page_code["scores"](path).numpy()
    ours = np.array([float(row["score.red"]), float(row["score.wide"])])
    kind = list(worst)[int(Path(path).stem) % 2]
    worst[kind] = max(worst[kind], float(np.abs(theirs - ours).max()))
    decided = [label for label in ("red", "wide") if row[f"decision.{label}"] == "1"]
    near = np.abs(theirs - page_code["thresholds"].numpy()).min() < limit[kind]
    if page_code["labels"](path) != decided and not near:
        sys.exit(f"{path}: {page_code['labels'](path)} by the page, {decided} by sweep")
print(f"{len(found)} pictures: scores differ by at most", ", ".join(f"{gap:.1e} ({kind})" for kind, gap in worst.items()))
sys.exit(any(gap > limit[kind] for kind, gap in worst.items()))
