"""`pipeline train`, one epoch, and what it says of its own start."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks.bench import ROOT


def main() -> None:
    root, out = sys.argv[1:3]
    command = [sys.executable, "-m", "pipeline.cli", "train", ROOT / "conf" / "digits.yaml", "--root", root, "--set", "train.epochs=1"]
    done = subprocess.run([*command, "--force", "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    folder = Path(json.loads(done.stdout)["folder"])
    facts = json.loads((folder / "manifest.json").read_text())["facts"]
    own = {f"{name.replace(' ', '_')}_s": seconds for name, seconds in facts["start"].items()}
    (Path(out) / "report.json").write_text(json.dumps({"own": own, "parameters": facts["num_parameters"], "versions": {}}))


if __name__ == "__main__":
    main()
