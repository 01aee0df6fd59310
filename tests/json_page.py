"""Write ``docs/json.md`` and ``docs/json.schema.json`` from the classes of what --json prints (``cli/results.py``).

PYTHONPATH=.:tests python tests/json_page.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from cli.model_results import Failure
from cli.results import RESULTS

DOCS = Path(__file__).parents[1] / "docs"
PAGE, SCHEMA = DOCS / "json.md", DOCS / "json.schema.json"
HEAD = """# Results for machines

With `--json` every command prints one JSON document on stdout, and nothing else there; what it tells while it works
goes to stderr (`--quiet`: nothing). The exit code is 0 with a result. Otherwise the document has a key `error`,
which is a [Fault](#fault), and stderr says the same in one line. `verify` and `predict_cell_types --by_sample` can have
both a result and a fault: their documents have all keys, and `error` is null where all is well.

```shell
scnym train_tissue_independent --input_counts cells.zarr --out_path run --json > run.json
```

Every key that is listed is in every document, null where there is no value; a number that does not exist is null too.
An *object of* something has names from the data as its keys. Keys of ours stay what they are; new ones may come.
[A JSON Schema](json.schema.json) says the same to machines; its `commands` name the document of each command. Both are
made from the program by `make json`, and the tests hold every command to them.
"""


class _WithoutTitles(GenerateJsonSchema):
    """A schema without the titles that Pydantic makes of keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Never."""
        del schema
        return False


def schema() -> dict[str, Any]:
    """Return the schema of all documents."""
    models = dict.fromkeys([*RESULTS.values(), Failure])
    refs, content = models_json_schema([(one, "serialization") for one in models], schema_generator=_WithoutTitles)
    commands = {command: refs[model, "serialization"] for command, model in RESULTS.items()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What scnym prints with --json",
        "$defs": content["$defs"],
        "commands": {**commands, "an error": refs[Failure, "serialization"]},
    }


def page() -> str:
    """Return the page as Markdown."""
    return "\n".join([HEAD, *_sections(schema())])


def _sections(whole: dict[str, Any]) -> Iterator[str]:
    definitions, told = whole["$defs"], set()
    for command, ref in whole["commands"].items():
        name = _name(ref)
        if name in told:
            yield f"## {command}\n\nAs [{name}](#{name.lower()}).\n"
            continue
        title = command if command == "an error" else f"scnym {command}"
        yield f"## {title}\n"
        for one in _with_parts(name, definitions):
            if one not in told:
                told.add(one)
                yield _table(one, definitions[one])


def _with_parts(name: str, definitions: dict[str, Any]) -> list[str]:
    """Return the name of an object, and those of all objects that may stand in it."""
    found = [name]
    for one in found:
        text = json.dumps(definitions[one])
        found += [part for part in definitions if f'"#/$defs/{part}"' in text and part not in found]
    return found


def _table(name: str, one: dict[str, Any]) -> str:
    head = f"### {name}\n\n{one.get('description', '')}\n"
    if "properties" not in one:
        return f"{head}\n{_type(one)}\n"
    rows = (f"| `{key}` | {_type(part)} | {part.get('description', '')} |" for key, part in one["properties"].items())
    return "\n".join([head, "| key | value | what it is |", "|---|---|---|", *rows, ""])


def _type(part: dict[str, Any]) -> str:
    """Return in words what is at a key."""
    if "$ref" in part:
        return f"[{_name(part)}](#{_name(part).lower()})"
    if "anyOf" in part:
        return " or ".join(_type(one) for one in part["anyOf"])
    if "enum" in part or "const" in part:
        return " or ".join(f"`{json.dumps(value)}`" for value in part.get("enum", [part.get("const")]))
    if part.get("type") == "array":
        return f"list of {_type(part['items'])}"
    if part.get("type") == "object":
        inside = part.get("additionalProperties")
        return f"object of {_type(inside)}" if isinstance(inside, dict) else "object"
    return part["type"]


def _name(ref: dict[str, Any]) -> str:
    return ref["$ref"].rpartition("/")[2]


def main() -> None:
    """Write both."""
    PAGE.write_text(page(), encoding="utf-8")
    SCHEMA.write_text(json.dumps(schema(), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
