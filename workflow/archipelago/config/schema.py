"""The configuration's JSON schema: ``python -m archipelago.config.schema``."""

from __future__ import annotations

import json

from archipelago.config.model import Config


def schema_text() -> str:
    """Return the JSON schema (draft 2020-12) of the configuration, for editors and readers."""
    return json.dumps(Config.model_json_schema(), indent=2) + "\n"


if __name__ == "__main__":
    print(schema_text(), end="")
