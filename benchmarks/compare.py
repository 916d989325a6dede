"""What the comparison scripts share: finding programs, running each as a child, and printing ratios."""
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def opponents_python(*compiled):
    """The Python that has torch, transformers and the opponents that have to be compiled: benchmarks/setup installs what is missing."""
    subprocess.run([ROOT / "benchmarks" / "setup", *compiled], check=True, stdout=sys.stderr)
    return os.environ.get("HEDGEHOG_OPPONENTS") or str(ROOT / ".deps/opponents/bin/python")


def program(path):
    """A program of the release build, or of the build folder $HEDGEHOG_BUILD."""
    found = Path(os.environ.get("HEDGEHOG_BUILD") or ROOT / "build/release") / path
    if not found.exists():
        sys.exit(f"{found} is not there: cmake --preset release && cmake --build --preset release")
    return str(found)


def run(command, environment=None):
    """What the command prints on standard output."""
    result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, cwd=ROOT,
                            env={**os.environ, **(environment or {})})
    if result.returncode != 0:
        sys.exit(f"exit status {result.returncode}: {' '.join(map(str, command))}")
    return result.stdout


def run_json(command, environment=None):
    """The JSON object that the command prints on standard output."""
    return json.loads(run(command, environment))


def machine():
    """The processor's name and what matters of its instructions, for the record beside each number."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    value = lambda key: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "unknown")
    flags = value("flags").split()
    known = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{value('model name')}, {os.cpu_count()} cores, {' '.join(known)}"


def model():
    """SmolLM2-135M-Instruct as a GGUF file, fetched if need be; the path is relative to the source tree."""
    output = subprocess.run([ROOT / "scripts/model"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return output.strip().splitlines()[-1]


def data(name):
    """A folder of the shared test data: $HEDGEHOG_DATA/NAME, or ../shared/data/NAME beside the source tree. None: not there."""
    folder = Path(os.environ.get("HEDGEHOG_DATA") or "../shared/data") / name
    return folder if (ROOT / folder).is_dir() else None
