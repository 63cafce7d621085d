"""SQLite and a real PostgreSQL pass the same suite."""

from __future__ import annotations

from pathlib import Path

import pytest

from jupyter_modelreg.testing import CatalogSuite


class TestSqlite(CatalogSuite):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return str(tmp_path / "home" / "catalog.sqlite")


class TestPostgres(CatalogSuite):
    @pytest.fixture
    def url(self, postgres_url: str) -> str:
        return postgres_url
