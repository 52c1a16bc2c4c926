"""All nemeses by name."""

from . import nemesis_clients, nemesis_more, nemesis_root
from .nemesis import NEMESES

NEEDS_ROOT = ("packets", "power", "torn", "disk", "clock", "rate", "half-open")

__all__ = ["NEMESES", "NEEDS_ROOT", "nemesis_clients", "nemesis_more", "nemesis_root"]
