"""The training kit: code, data and wheels in one folder for a bare machine, trained there within
given minutes, and what it brings back. `configs/pocket/kit.sh` is its command."""
