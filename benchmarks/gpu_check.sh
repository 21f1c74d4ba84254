#!/usr/bin/env bash
# Are pictures right on this machine's GPU? At most four minutes; the exit code says it, too.
#
#     benchmarks/gpu_check.sh [OPTION...]    # of `python -m benchmarks.against_diffusers check`
#
# PYTHON is the interpreter, python3 if it isn't set.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
timeout 240 "${PYTHON:-python3}" -m benchmarks.against_diffusers check "$@" && exit
code=$?
if ((code == 124)); then echo "error: it took longer than four minutes" >&2; fi
exit "$code"
