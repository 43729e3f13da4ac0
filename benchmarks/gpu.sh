#!/bin/sh
# Measure on the accelerator of this machine, for 6 minutes; prints JSON lines. Everything is tried on the CPU before,
# with tiny models, whose lines go to standard error.
#
#     benchmarks/gpu.sh [--against=torch] [--reference_python=/path/to/python] [--minutes=6] > lines.jsonl
#
# PYTHON is the Python in which this package is installed (python3).
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
JAX_PLATFORMS=cpu CUDA_VISIBLE_DEVICES='' "$python" -m benchmarks.accelerator --small "$@" --minutes=30 >&2
exec "$python" -m benchmarks.accelerator "$@"
