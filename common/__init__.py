"""Shared parts of the breast-imaging bundles: transforms, networks, losses, metrics, handlers, data, reports."""

__version__ = "0.1.0"
