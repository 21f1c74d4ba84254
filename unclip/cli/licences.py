"""Licences that restrict what a model may be used for: told once a model, then remembered."""

import json
import os
from pathlib import Path

from unclip.cli.report import Report

TERMS = {
    "creativeml-openrail-m": "its weights are under the CreativeML Open RAIL-M licence, which "
    "forbids harmful uses and binds whoever passes on the weights or what is made from them: "
    "docs/karlo.md, section Licence"
}
"""Licences to what is told of them."""


def tell_licence(report: Report, model: str, licence: str | None) -> None:
    """Tells the terms of a model's licence the first time that it is used here."""
    if licence not in TERMS:
        return
    path = _memory()
    told = _read(path)
    if model in told:
        return
    report.note(f"{model}: {TERMS[licence]} (told once)")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(sorted({*told, model})) + "\n", encoding="utf-8")
    except OSError:
        return  # a home that cannot be written is told again


def _memory() -> Path:
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "unclip" / "licences.json"


def _read(path: Path) -> list[str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
