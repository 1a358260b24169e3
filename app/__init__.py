"""The thin Flask API and the command line: parse, authorize, enqueue, answer. No merge logic lives here."""

__version__ = "0.1.0"
