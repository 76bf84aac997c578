"""The HTTP API under /api/v1: thin handlers over the writer and the store's readers."""

from wherry_controller.http.app import build_app

__all__ = ["build_app"]
