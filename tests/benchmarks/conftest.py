"""What the tests of the ablations share."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState
from small_artists import save_small_judge

from unclip.training import tracking


@pytest.fixture(scope="session")
def small_judge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A judge of random weights."""
    return save_small_judge(tmp_path_factory.mktemp("judge") / "weights")


@pytest.fixture
def fresh_accelerate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Lets Accelerate begin anew in this process; at the end it is left so."""
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)  # TensorBoard is slow to start

    def reset() -> None:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()

    reset()
    yield reset
    reset()
