"""A training script that takes no time: its scores are a function of its settings.

The best learning rate is 0.01. With one above 1 it fails as a user's mistake does. With seed 1 it stays in epoch 3
until it is stopped, or there is a file "go" in the folder of the search.
"""

import re
import signal
import sys
import time
from pathlib import Path

settings = dict(re.findall(r"--(?:config\.)?([\w.]+)=(.*)", "\n".join(sys.argv[1:])))
workdir, rate = Path(settings["workdir"]), float(settings["optimizer.learning_rate"])
if rate > 1:
    print("error: the loss was not finite at step 3", file=sys.stderr)
    sys.exit(2)
stopped = []
signal.signal(signal.SIGINT, lambda *_: stopped.append(True))
table = workdir / "metrics.csv"
if not table.exists():
    table.write_text("epoch,seconds,validation/correlation,validation/best,validation/loss\n")
for epoch in range(len(table.read_text().splitlines()), int(settings["train.epochs"]) + 1):
    score = (1 - abs(rate - 0.01)) * epoch / (epoch + 1)
    with table.open("a") as file:
        file.write(f"{epoch},{0.1 * epoch},{score},{score},{1 - score}\n")
    while settings["seed"] == "1" and epoch == 3 and not stopped and not (workdir.parent.parent / "go").exists():
        time.sleep(0.02)
    if stopped:
        print(f"stopped after epoch {epoch}")
        sys.exit(0)
(workdir / "neurons.csv").touch()
