"""The real modules against closed forms."""

from collections.abc import Callable
from types import SimpleNamespace

import closed_forms
import pytest


@pytest.mark.parametrize("check", closed_forms.CHECKS, ids=lambda check: check.__name__)
def test_closed_form(check: Callable, modules: Callable[..., SimpleNamespace]) -> None:
    check(modules({}))
