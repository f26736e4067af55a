"""The browser, and the reports that it opens: for all tests of pages."""

from __future__ import annotations

from tests.whole.pages.browser import chrome, reports  # noqa: F401 - fixtures of these tests
