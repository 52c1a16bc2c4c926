"""All nemeses by name."""

from .nemesis import NEMESES

__all__ = ["NEMESES"]
