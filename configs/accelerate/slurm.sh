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

REQUEUE=85  # the trainer's exit code after a signal, when all is saved (docs/training.md)
gpus=${SLURM_GPUS_ON_NODE:-8}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)

# One launcher a node; each finds its own number in SLURM_NODEID, which is known only there. `exec`, so that a signal meets the launcher.
srun --kill-on-bad-exit=1 bash -c 'exec accelerate launch --multi_gpu \
  --num_machines "$SLURM_JOB_NUM_NODES" --machine_rank "$SLURM_NODEID" --num_processes "$0" \
  --main_process_ip "$1" --main_process_port "$2" --rdzv_backend static --mixed_precision no --dynamo_backend no \
  -m "${@:3}"' \
  "$((gpus * SLURM_JOB_NUM_NODES))" "$first" "$((20000 + SLURM_JOB_ID % 20000))" "$@" &
launched=$!

# SLURM signals this script only (B:); srun hands it on to the launchers, and they to every rank.
trap 'kill -USR1 "$launched" 2> /dev/null' USR1
trap 'kill -TERM "$launched" 2> /dev/null' TERM
wait "$launched"; code=$?
while kill -0 "$launched" 2> /dev/null; do wait "$launched"; code=$?; done  # a trap ends a wait early

[ "$code" -ne "$REQUEUE" ] || scontrol requeue "$SLURM_JOB_ID"
exit "$code"
