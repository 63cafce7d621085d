"""What a plugin must hold to, as tests to inherit: ``FlavorSuite``, ``SourceSuite`` and ``StoreSuite``. They need pytest."""

from .flavors import FlavorSuite
from .sources import SourceSuite
from .stores import StoreSuite

__all__ = ["FlavorSuite", "SourceSuite", "StoreSuite"]
