"""What a training run will take, before it is begun: parameters, FLOPs, memory, time, storage."""
