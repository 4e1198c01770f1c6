"""`inturn config`: look at the configuration, or begin one."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from consumer.cli.config_starter import STARTER
from consumer.config_file import read_configuration
from consumer.config_rendering import render
from consumer.errors import ProcessorSettingsError
from consumer.processor_loading import find_processor, known_processors
from consumer.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Look at the configuration, or begin one.")

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", help="The configuration file.", envvar="INTURN_CONFIG", show_envvar=True),
]
"""How a command is told which configuration file to read."""
DEFAULT_CONFIG = Path("inturn.yaml")


@app.command()
def show(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Print the whole configuration with defaults and variables filled in, and where each value comes from.

    Secrets are printed as ***. Exit code 78: something is wrong with it, and what.
    """
    settings, document = read_configuration(config, os.environ)
    print(render(settings, document), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file: for editors, and to see what each setting does."""
    print(json.dumps(schema_of_file(), indent=2, ensure_ascii=False))


@app.command("init")
def begin() -> None:
    """Print a configuration to begin with: inturn config init > inturn.yaml."""
    print(STARTER, end="")


def schema_of_file() -> dict[str, Any]:
    """The JSON Schema, with the settings of every processor that is installed."""
    whole = Settings.model_json_schema()
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole, "title": "inturn"}
    conditions: list[dict[str, Any]] = []
    for name in sorted(known_processors()):
        try:
            model = find_processor(name).settings
        except ProcessorSettingsError:
            continue  # An installed package that is broken is reported to whoever uses it.
        if model is not None:
            own = model.model_json_schema(ref_template=f"#/$defs/with_{name}/$defs/{{model}}")
            whole["$defs"][f"with_{name}"] = own
            conditions.append(
                {
                    "if": {"properties": {"type": {"const": name}}},
                    "then": {"properties": {"with": {"$ref": f"#/$defs/with_{name}"}}},
                }
            )
    whole["$defs"]["ProcessorSettings"]["allOf"] = conditions
    _allow_variables(whole)
    return whole


def _allow_variables(node: Any) -> None:
    """Let numbers and booleans be written as ${NAME} too, for they are validated after it is replaced."""
    if isinstance(node, dict):
        # A list, so that a property which is called "type" may be there instead.
        if node.get("type") in ["integer", "number", "boolean"]:
            node["type"] = [node["type"], "string"]
            node["pattern"] = r"\$\{"
        for inner in node.values():
            _allow_variables(inner)
    elif isinstance(node, list):
        for inner in node:
            _allow_variables(inner)
