#!/usr/bin/env bash
# Trains on another machine that has torch, transformers and accelerate, and no network.
#
#   kit.sh pack SET KIT [--python 3.12] [--no-wheels] [--judge DIR] [RUN...]   here: a folder of at most 60 MiB
#   KIT/configs/pocket/kit.sh train MINUTES STAGE...                           there, in all MINUTES
#   KIT/configs/pocket/kit.sh back OUT [STAGE...]                              there: at most 8 files of 16 MiB
#
# Stages: clip prior decoder upsampler_256 upsampler_1024. A command that was cut off goes on when it is given again.
# PYTHON is the Python to use (python3); UNCLIP_KIT_CONFIGS, for pack, another folder of configurations than configs/pocket.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
python=${PYTHON:-python3}
export PYTHONPATH="$root:$root/site${PYTHONPATH:+:$PYTHONPATH}"

if [ "${1:-}" = train ]; then
  started=$(date +%s)
  cd "$root"
  if [ -d freight/wheels ] && [ ! -d site ]; then
    rm -rf site.making
    "$python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile \
      --target site.making freight/wheels/*.whl >&2 || {
      echo "error: the wheels do not fit this Python ($("$python" -V)): pack with --python" >&2
      exit 2
    }
    mv site.making site
  fi
  exec "$python" -P -m unclip.training.kit train --started "$started" "${@:2}"
fi
exec "$python" -P -m unclip.training.kit "$@"
