"""Text, JSON and YAML that anybody may have written, read within bounds; UserError names the file that breaks them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

from bench.mistake import UserError

LARGEST_JSON = 64 << 20
LARGEST_YAML = 256 << 10
LONGEST_NUMBER = 400
"""Characters of a number in YAML: whole numbers of many digits take quadratic time to read."""


def text(path: Path, largest: int) -> str:
    """A regular file of at most ``largest`` bytes, in UTF-8."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise UserError(f"{path} is no regular file; put the file itself there")
    with path.open("rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise UserError(f"{path} is larger than {largest:,} bytes, which no such file is; delete it or leave it out")
    return content.decode("utf-8")


def read_json(path: Path) -> Any:
    """The content of a JSON file; UserError where it is none, or nested too deeply."""
    try:
        return json.loads(text(path, LARGEST_JSON))
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; delete it to have it made again") from None
    except UserError:
        raise
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise UserError(f"{path} is not whole ({error}); delete it to have it made again") from error


def read_yaml(path: Path, advice: str) -> Any:
    """The content of a YAML file in plain containers, without aliases; ``advice`` ends an error's sentence."""
    import yaml

    class Plain(yaml.SafeLoader):
        """No aliases: a few lines of them stand for billions of values."""

        def compose_node(self, parent: Any, index: int) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it uses an alias, which bench never writes")
            node = super().compose_node(parent, index)
            number = isinstance(node, yaml.ScalarNode) and node.tag.endswith((":int", ":float"))
            if isinstance(node, yaml.ScalarNode) and number and len(node.value) > LONGEST_NUMBER:
                raise yaml.YAMLError(f"it holds a number of {len(node.value):,} characters")
            return node

    try:
        return yaml.load(text(path, LARGEST_YAML), Plain)
    except RecursionError:
        raise UserError(f"{path} is nested too deeply; {advice}") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path} can't be read as YAML ({' '.join(str(error).split())[:300]}); {advice}") from error
