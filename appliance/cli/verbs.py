"""The grammar: verbs as groups, nouns as their commands.

The module of a noun puts its commands here when it is imported, which is when the noun is used: a command pays for itself
alone.
"""

from importlib import import_module

import click

_MODULES = {
    "repo": ("repos",),
    "branch": ("branches",),
    "commit": ("commits", "mount", "flushing"),
    "file": ("files", "put", "comparing"),
    "directory": ("files",),
    "pipeline": ("pipelines", "rerunning", "drawing", "editing"),
    "cron": ("rerunning",),
    "job": ("jobs", "flushing"),
    "datum": ("jobs", "debugging", "batching"),
    "storage": ("storage",),
    "secret": ("secrets",),
    "project": ("projects",),
    "defaults": ("projects",),
    "transaction": ("transactions",),
    "appliance": ("misc",),
    "all": ("misc",),
    "fsck": ("upkeep",),
    "garbage-collect": ("upkeep",),
    "export": ("backup",),
    "import": ("backup",),
    # These stand alone, without a verb.
    "auth": ("auth",),
    "logs": ("logs",),
    "serve": ("serve",),
    "status": ("mount",),
    "discard": ("mount",),
    "mount": ("mount",),
    "unmount": ("mount",),
    "env": ("misc",),
    "doctor": ("misc",),
    "version": ("misc",),
}


NO_PROJECTS = "there are no projects here: everything is in the project `default`"
_DEFAULT_PROJECT = "default"


class Noun(click.Command):
    """A command that says how many arguments it wants, in Pachyderm's words (`cmdutil.RunFixedArgs` and its kin)."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what was typed. Raises UsageError."""
        args = _without_project(args)
        if not ctx.resilient_parsing and not {*args} & {*ctx.help_option_names}:
            self._check_count(ctx, list(args))
        return super().parse_args(ctx, args)

    def _check_count(self, ctx: click.Context, args: list[str]) -> None:
        wanted = [parameter for parameter in self.params if isinstance(parameter, click.Argument)]
        found, rest, _ = self.make_parser(ctx).parse_args(args)
        if any(argument.nargs != 1 for argument in wanted):
            return
        given = sum(isinstance(found.get(argument.name or ""), str) for argument in wanted) + len(rest)
        least, most = sum(argument.required for argument in wanted), len(wanted)
        if not least <= given <= most:
            expected = str(most) if least == most else f"{least} to {most}"
            raise click.UsageError(f"expected {expected} arguments, got {given}", ctx)


def _without_project(args: list[str]) -> list[str]:
    """Return arguments without those that say which project is meant, where that is the only one. Raises UsageError."""
    end = args.index("--") if "--" in args else len(args)
    kept = []
    words = iter(args[:end])
    for word in words:
        option, equals, value = word.partition("=")
        if option == "--project":
            if (value if equals else next(words, "")) != _DEFAULT_PROJECT:
                raise click.UsageError(NO_PROJECTS)
        elif word not in ("-A", "--all-projects"):
            kept.append(word)
    return kept + args[end:]


class Verb(click.Group):
    """A verb whose nouns may be written in singular or plural: `list repo`, `list repos`."""

    command_class = Noun

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a noun; None if there is none."""
        noun = next((noun for noun in _MODULES if cmd_name in (noun, plural(noun))), cmd_name)
        _load(noun)
        return super().get_command(ctx, noun)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return all nouns of this verb."""
        for noun in _MODULES:
            _load(noun)
        return super().list_commands(ctx)


def plural(noun: str) -> str:
    """Return the plural of a noun of ours."""
    if noun.endswith("y"):
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith("ch") else f"{noun}s"


def _load(noun: str) -> None:
    for module in _MODULES.get(noun, ()):
        import_module(f"appliance.cli.{module}")


@click.group(cls=Verb, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """Versioned repos, an S3 gateway, pipelines and a /pfs mount, in one process.

    `serve` runs the appliance; every other command talks to the one that runs on $APPLIANCE_HOME, by default the platform's
    directory for data.
    """


def _verb(name: str, text: str) -> Verb:
    verb = Verb(name, help=text)
    root.add_command(verb)
    return verb


create = _verb("create", "Make a repo, branch, pipeline or secret.")
update = _verb("update", "Change a repo or pipeline.")
inspect = _verb("inspect", "Show everything about one thing.")
list_ = _verb("list", "Show many things, a line each.")
delete = _verb("delete", "Remove something.")
start = _verb("start", "Start a commit, a pipeline or a transaction.")
finish = _verb("finish", "Finish a commit or a transaction.")
subscribe = _verb("subscribe", "Print things as they happen.")
glob = _verb("glob", "Find files by a pattern.")
diff = _verb("diff", "Show what differs between commits.")
copy = _verb("copy", "Copy files within the appliance.")
squash = _verb("squash", "Fold commits into those after them.")
clear = _verb("clear", "Undo what was written into an open commit.")
find = _verb("find", "Find the commits that touched a file.")
edit = _verb("edit", "Change a pipeline in an editor.")
draw = _verb("draw", "Draw pipelines and what they read.")
run = _verb("run", "Start a job of a pipeline, or let its cron inputs tick.")
rerun = _verb("rerun", "Start a job of a pipeline on what it has read already.")
restart = _verb("restart", "Let datums of a running job begin anew.")
stop = _verb("stop", "Stop a job or a pipeline, or adding to a transaction.")
resume = _verb("resume", "Go on adding to a transaction.")
wait = _verb("wait", "Wait until a commit or job is finished.")
validate = _verb("validate", "Say whether a spec would do.")
extract = _verb("extract", "Print the spec of a pipeline.")
flush = _verb("flush", "Wait for everything that follows from some commits.")
next_ = _verb("next", "Ask for the next of many things.")
put = _verb("put", "Write files into a repo.")
get = _verb("get", "Read files from a repo.")
debug = _verb("debug", "Run a datum once more, to look at it.")
deploy = _verb("deploy", "Give the appliance credentials for other object stores.")
