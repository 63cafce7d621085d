"""What a plugin must hold to, as tests to inherit: ``CatalogSuite``, ``FlavorSuite``, ``SourceSuite`` and ``StoreSuite``. They need pytest."""

from .catalogs import CatalogSuite
from .flavors import FlavorSuite
from .sources import SourceSuite
from .stores import StoreSuite

__all__ = ["CatalogSuite", "FlavorSuite", "SourceSuite", "StoreSuite"]
