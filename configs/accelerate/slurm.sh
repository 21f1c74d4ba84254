#!/usr/bin/env bash
# One training over all nodes of a SLURM job; put back into the queue when its time is up or it is preempted.
#   sbatch --nodes 4 configs/accelerate/slurm.sh decoder.train --config configs/paper/decoder.yaml --out /shared/runs/decoder
# The run's folder must be on a file system that all nodes share. docs/cluster.md explains each line.
#SBATCH --job-name=unclip
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -uo pipefail

# A launcher that is asked to end asks its processes, and waits so long for them to save.
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT=240
gpus=${SLURM_GPUS_ON_NODE:-8}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One launcher a node; each finds its own number in SLURM_NODEID, which is known only there. `exec`, so that a signal meets the launcher.
srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch --multi_gpu \
  --num_machines "$SLURM_JOB_NUM_NODES" --machine_rank "$SLURM_NODEID" --num_processes "$0" \
  --main_process_ip "$1" --main_process_port "$2" --rdzv_backend static --mixed_precision no --dynamo_backend no \
  -m "${@:3}"' \
  "$((gpus * SLURM_JOB_NUM_NODES))" "$first" "$((20000 + SLURM_JOB_ID % 20000))" "$@" &
launched=$!

# SLURM signals this script only (B:); srun hands SIGTERM on to the launchers, and they to every process.
asked=
stop() { asked=yes; kill -TERM "$launched" 2> /dev/null; }
trap stop USR1 TERM
wait "$launched"; code=$?
while kill -0 "$launched" 2> /dev/null; do wait "$launched"; code=$?; done  # a trap ends a wait early

# A launcher has an exit code of its own; 85 is the trainer's, after a signal that met it alone (docs/training.md).
if [ "$code" -eq 85 ] || { [ -n "$asked" ] && [ "$code" -ne 0 ]; }; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
