#!/usr/bin/env bash
# How fast is this machine's GPU with full Karlo shapes? Batch 1 and 8 within nine minutes, or the
# batches that are given (64 takes eight more); leaves records, and makes docs/speed.md from them.
#
#     benchmarks/gpu_speed.sh [BATCH...] [OPTION...]    # of `... against_diffusers run`
#
# A run that is stopped goes on when it is started again. PYTHON is the interpreter, python3 if it
# isn't set; RECORDS is where records go, DOCS where the page goes.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# To search Triton's convolutions for the tuned peer takes longer than all the rest; cuDNN's are
# chosen by measurement in any case.
export TORCHINDUCTOR_MAX_AUTOTUNE_CONV_BACKENDS=ATEN
python="${PYTHON:-python3}" records="${RECORDS:-benchmarks/speed/records}"

batches=()
while [[ "${1:-}" =~ ^[0-9]+$ ]]; do
    batches+=("$1")
    shift
done
for batch in "${batches[@]:-1 8}"; do
    for size in $batch; do
        # The tuned peer compiles for minutes: it is run where a target asks for it.
        engines=(P0 P1 U0 U1)
        if [[ "$size" == 8 ]]; then engines=(P0 U0 U1); fi
        warmups=10
        if ((size > 8)); then warmups=2; fi
        "$python" -m benchmarks.against_diffusers run --device cuda --shape karlo --batch "$size" \
            --engines "${engines[@]}" --warmups "$warmups" \
            --out "$records/gpu_karlo_$size.json" "$@"
    done
done
"$python" -m benchmarks.against_diffusers page --records "$records" --docs "${DOCS:-docs}"
