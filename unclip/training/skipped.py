"""What becomes of pictures that cannot be used: counted by reason and place, told, and too many end
the run."""

import json
from collections import Counter

from accelerate import Accelerator

from unclip.errors import DataError
from unclip.training.progress import Progress
from unclip.training.settings import TrainConfig
from unclip.training.sources import Faults, list_faults
from unclip.training.tracking import Tracker
from unclip.training.world import gather_bytes


def stop_if_too_many(progress: Progress, config: TrainConfig, faults: Faults) -> None:
    """Ends the run, in all processes at the same step, when too few pictures can be used.

    Raises:
        DataError: more than `train.max_skipped` of at least 1,000 could not be used.
    """
    what = progress.too_many_skipped(config)
    if what is not None:
        raise DataError(
            f"{what}: {list_faults(faults) or 'not in this process'}; repair these, or allow more"
        )


def tell_skipped(accelerator: Accelerator, faults: Faults, tracker: Tracker) -> None:
    """Says what all processes passed over so far; every process calls it at the same step."""
    mine = json.dumps([[*key, count] for key, count in faults.items()]).encode()
    total: Faults = Counter()
    for content in gather_bytes(accelerator, mine):
        for place, reason, count in json.loads(content):
            total[place, reason] += count
    if total:
        tracker.say(f"skipped so far: {list_faults(total)}")
