"""Text, JSON and YAML that anybody may have written, read within bounds; UserError names the file that breaks them."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.mistake import UserError

if TYPE_CHECKING:
    import numpy as np

LARGEST_JSON = 64 << 20
LARGEST_YAML = 256 << 10
LARGEST_CSV = 64 << 30
"""Bytes; no competition's table has as many, and a file of holes may say any size."""
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


def table(path: Path) -> Path:
    """The path of a CSV file; UserError naming it where it is no regular file, or of absurd size."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{path} is no regular file; put the table itself there")
    if status.st_size > LARGEST_CSV:
        raise UserError(f"{path} says that it has {status.st_size:,} bytes, which no such table has; get it again")
    return path


def array(path: Path, advice: str) -> np.ndarray:
    """The array in a .npy file, mapped, so no header asks for more than the file holds; ``advice`` ends an error."""
    import numpy as np

    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a header is parsed as Python, whose errors are of many types
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); {advice}") from error
    return values


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
