"""`scripts/hostile` runs a case and says whether all was well. The cases themselves are for whoever has the time."""

import subprocess
import sys
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "hostile.py"


def test_a_case_is_run_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory() as directory:  # those of pytest are too long for sockets inside
        command = [sys.executable, str(SCRIPT), "--quick", "--only", "closed", "--directory", directory]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        assert done.stdout.split()[0] == "closed"
        assert list(Path(directory).iterdir()) == []
