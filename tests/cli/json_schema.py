"""Checks JSON against the part of JSON Schema that docs/schemas uses; an unknown keyword is an error, not a pass."""

import json
import pathlib
import re

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "docs/schemas"

TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
}
KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "required", "properties", "additionalProperties", "items",
         "const", "enum", "minimum", "maximum", "pattern", "oneOf"}


def load(name):
    """The schema docs/schemas/NAME.schema.json."""
    return json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))


def problems(value, schema, root=None, path="$"):
    """Every place where `value` breaks the schema, as sentences."""
    root = root or schema
    assert set(schema) <= KNOWN, f"{path}: unknown keywords {set(schema) - KNOWN}"
    if "$ref" in schema:
        file, _, place = schema["$ref"].partition("#/")
        root = load(file.removesuffix(".schema.json")) if file else root
        target = root
        for part in place.split("/"):
            target = target[part]
        return problems(value, target, root, path)
    found = []
    if "oneOf" in schema:
        branches = [problems(value, branch, root, path) for branch in schema["oneOf"]]
        if sum(not branch for branch in branches) != 1:
            found += min(branches, key=len) or [f"{path}: fits more than one of its forms"]
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(TYPES[name](value) for name in types):
        return [f"{path}: expected {' or '.join(types)}, found {value!r:.60}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{path}: expected {schema['const']!r}, found {value!r:.60}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value!r:.60} is not one of {schema['enum']}")
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        found.append(f"{path}: {value} is below {schema['minimum']}")
    if "maximum" in schema and value is not None and value > schema["maximum"]:
        found.append(f"{path}: {value} is above {schema['maximum']}")
    if "pattern" in schema and not re.search(schema["pattern"], value):
        found.append(f"{path}: {value!r:.60} does not match {schema['pattern']}")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{path}: {key} is missing" for key in schema.get("required", []) if key not in value]
        for key, member in value.items():
            if key in properties:
                found += problems(member, properties[key], root, f"{path}.{key}")
            elif schema.get("additionalProperties", True) is False:
                found.append(f"{path}: {key} is not in the schema")
            elif isinstance(schema.get("additionalProperties"), dict):
                found += problems(member, schema["additionalProperties"], root, f"{path}.{key}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            found += problems(item, schema["items"], root, f"{path}[{index}]")
    return found
