#!/usr/bin/env bash
# Makes the sheets of docs/pocket.md: uncurated, seeds from 0, default settings.
set -euo pipefail
cd "$(dirname "$0")"
out=$(mktemp -d)
unclip generate "an astronaut riding a horse, pencil drawing" "a red apple, cartoon" \
  "a blue car on a green background, flat illustration" "a yellow cat, pixel art" \
  "a purple umbrella on a white background, cartoon" "a penguin riding an elephant, flat illustration" \
  "a tree, pencil drawing" "a pink heart on a gray background, cartoon" \
  -n 6 --seed 0 --size 256 --grid --out "$out/" --force
mv "$out"/*-grid.png sheet_256.png
unclip generate "an astronaut riding a horse, pencil drawing" --seed 0 --out astronaut_1024.png --force
rm -r "$out"
