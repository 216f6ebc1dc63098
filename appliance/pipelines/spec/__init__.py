"""Pipeline specs: the model, reading them from JSON or YAML, and the rules a spec must keep. Pure.

`parse_specs` takes text to `Spec`s that are complete: names, branches and globs filled in and inputs sorted, so that what is
stored, shown and run is one thing. What only the store knows (do the repos exist, is the name free) is not decided here, and
neither is what has to be random or now: `salt` and the `start` of a cron input stay empty until the pipeline is created.

    model        the parts of a spec, and what it says about itself
    queries      its stored form, its inputs in order, its line in a table
    documents    text to plain dicts and lists
    reading      dicts to complete specs: names, types, defaults
    rules        what a spec must keep
    supported    what this version does not run

Fields, defaults and texts are Pachyderm's (`src/pps/pps.proto`, `src/server/pps/server/api_server.go`).
"""

from appliance.pipelines.spec.model import (
    CronInput,
    Egress,
    Input,
    PfsInput,
    Spec,
    SqlDatabaseEgress,
    Transform,
    View,
    parse_duration,
)
from appliance.pipelines.spec.model import Trigger as SpecTrigger
from appliance.pipelines.spec.queries import crons_of, from_json, input_shorthand, leaves, sort_input, to_json
from appliance.pipelines.spec.reading import parse_specs
from appliance.pipelines.spec.supported import check_supported

__all__ = [
    "CronInput",
    "Egress",
    "Input",
    "PfsInput",
    "Spec",
    "SpecTrigger",
    "SqlDatabaseEgress",
    "Transform",
    "View",
    "check_supported",
    "crons_of",
    "from_json",
    "input_shorthand",
    "leaves",
    "parse_duration",
    "parse_specs",
    "sort_input",
    "to_json",
]
