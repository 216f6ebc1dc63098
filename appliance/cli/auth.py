"""Authentication: turning it on and off, tokens, roles.

Commands act for the owner of the data directory, whoever is logged in; only those below ask in the name of the token that
`use-auth-token` keeps, if there is one.
"""

import sys
from typing import Any

import click

from appliance.cli.connection import call
from appliance.cli.output import timestamp
from appliance.cli.session import session_token, set_session_token
from appliance.cli.verbs import root
from appliance.errors import InvalidRequest

_NO_ROLES = "none"


@root.group("auth")
def auth() -> None:
    """Who may use the S3 gateway: tokens, and roles on repos. A token is both keys of an S3 client."""


def _ask(name: str, **arguments: Any) -> Any:
    """Make a call in the name of whoever is logged in."""
    return call(name, **arguments, as_token=session_token())


@auth.command()
@click.option("--supply-root-token", is_flag=True, help="Read the root token from standard input instead of making one.")
def activate(supply_root_token: bool) -> None:
    """Turn authentication on and print the root token, which may do everything. It is not kept; keep it well."""
    token = call("auth_activate", token=_read_token("root token") if supply_root_token else None)
    set_session_token(token)
    click.echo(f"Root token: {token}")


@auth.command()
def deactivate() -> None:
    """Turn authentication off: all tokens and roles are forgotten, and anybody who reaches the gateway may do everything."""
    _ask("auth_deactivate")
    set_session_token(None)


@auth.command("rotate-root-token")
@click.option("--supply-token", is_flag=True, help="Read the new one from standard input instead of making one.")
def rotate_root_token(supply_token: bool) -> None:
    """Replace the root token by another one, print it and be known by it."""
    token = _ask("auth_rotate_root_token", token=_read_token("root token") if supply_token else None)
    set_session_token(token)
    click.echo(f"Root token: {token}")


# -- who I am


@auth.command()
def whoami() -> None:
    """Say whose token the active one is."""
    found = _ask("auth_whoami")
    click.echo(f'You are "{found["subject"]}"')
    if found["expires_ns"] is not None:
        click.echo(f"session expires: {timestamp(found['expires_ns'])}")


@auth.command("use-auth-token")
def use_auth_token() -> None:
    """Be known by a token, which is read from standard input."""
    token = _read_token("token")
    call("auth_whoami", as_token=token)
    set_session_token(token)


@auth.command()
@click.option("-t", "--token", "by_token", is_flag=True, help="With a token, which is read from standard input.")
@click.pass_context
def login(context: click.Context, by_token: bool) -> None:
    """Be known by a token. There is no other way in: accounts are kept elsewhere."""
    if not by_token:
        raise InvalidRequest("no authentication providers are configured: use `auth login -t` or `auth use-auth-token`")
    context.invoke(use_auth_token)


@auth.command()
def logout() -> None:
    """Forget the token that this user is known by; it stays good."""
    set_session_token(None)


def _read_token(what: str) -> str:
    if sys.stdin.isatty():
        click.echo(f"Enter the {what}: ", nl=False, err=True)
    token = sys.stdin.readline().strip()
    if not token:
        raise InvalidRequest(f"no {what} on standard input")
    return token


# -- tokens


@auth.command("get-robot-token")
@click.argument("robot")
@click.option("--ttl", metavar="DURATION", help="How long it is good, as 30s, 12h or 1h30m [default: for ever].")
@click.option("-q", "--quiet", is_flag=True, help="Print the token and nothing else.")
@click.option("--supply-token", is_flag=True, help="Read it from standard input instead of making one.")
def get_robot_token(robot: str, ttl: str | None, quiet: bool, supply_token: bool) -> None:
    """Make a token for a robot: a program, a machine, a test."""
    _make_token(f"robot:{robot.removeprefix('robot:')}", ttl, quiet, supply_token)


@auth.command("get-auth-token")
@click.argument("user")
@click.option("--ttl", metavar="DURATION", help="How long it is good, as 30s, 12h or 1h30m [default: for ever].")
@click.option("-q", "--quiet", is_flag=True, help="Print the token and nothing else.")
@click.option("--supply-token", is_flag=True, help="Read it from standard input instead of making one.")
def get_auth_token(user: str, ttl: str | None, quiet: bool, supply_token: bool) -> None:
    """Make a token for a user, or for any other subject that is written with its kind."""
    _make_token(user if ":" in user else f"user:{user}", ttl, quiet, supply_token)


def _make_token(subject: str, ttl: str | None, quiet: bool, supplied: bool) -> None:
    token = _ask("auth_make_token", subject=subject, ttl=ttl, token=_read_token("token") if supplied else None)
    click.echo(token if quiet else f"Token: {token}")


@auth.command()
@click.option("--token", help="One token.")
@click.option("--user", "subject", metavar="SUBJECT", help="All tokens of a subject.")
def revoke(token: str | None, subject: str | None) -> None:
    """Make a token, or all tokens of somebody, good for nothing at once."""
    if (token is None) == (subject is None):
        raise click.UsageError("one of --token and --user is needed")
    if token is not None:
        _ask("auth_revoke_token", token=token)
        click.echo("1 auth token revoked")
    else:
        click.echo(f"{_ask('auth_revoke_subject', subject=subject)} auth tokens revoked")


# -- roles


@auth.group()
def check() -> None:
    """Show what somebody may do."""


@check.command("repo")
@click.argument("repo")
@click.argument("subject", required=False)
def check_repo(repo: str, subject: str | None) -> None:
    """Show what you, or a subject, may do with a repo."""
    _check(repo=repo, subject=subject)


@check.command("cluster")
@click.argument("subject", required=False)
def check_cluster(subject: str | None) -> None:
    """Show what you, or a subject, may do with the appliance."""
    _check(subject=subject)


def _check(**place: Any) -> None:
    found = _ask("auth_check", **place)
    click.echo(f"Roles: [{' '.join(found['roles'])}]")
    click.echo(f"Permissions: [{' '.join(found['permissions'])}]")


@auth.group("get")
def get_roles() -> None:
    """Show who has which roles."""


@get_roles.command("repo")
@click.argument("repo")
def get_repo(repo: str) -> None:
    """Show who has which roles on a repo."""
    _get(repo=repo)


@get_roles.command("cluster")
def get_cluster() -> None:
    """Show who has which roles on everything."""
    _get()


def _get(**place: Any) -> None:
    for subject, roles in _ask("auth_get_roles", **place).items():
        click.echo(f"{subject}: [{' '.join(roles)}]")


@auth.group("set")
def set_roles() -> None:
    """Give roles, or take them away."""


@set_roles.command("repo")
@click.argument("repo")
@click.argument("roles", metavar="ROLE[,ROLE]|none")
@click.argument("subject")
def set_repo(repo: str, roles: str, subject: str) -> None:
    """Give a subject roles on a repo (repoReader, repoWriter, repoOwner) in place of those it had."""
    _ask("auth_set_roles", repo=repo, subject=subject, roles=_parse_roles(roles))


@set_roles.command("cluster")
@click.argument("roles", metavar="ROLE[,ROLE]|none")
@click.argument("subject")
def set_cluster(roles: str, subject: str) -> None:
    """Give a subject roles on everything: clusterAdmin, or one of those on repos, for all of them."""
    _ask("auth_set_roles", subject=subject, roles=_parse_roles(roles))


def _parse_roles(text: str) -> list[str]:
    return [] if text == _NO_ROLES else [role.strip() for role in text.split(",")]


@auth.command("roles-for-permission")
@click.argument("permission")
def roles_for_permission(permission: str) -> None:
    """Show which roles allow something."""
    click.echo("".join(f"{role}\n" for role in call("auth_roles_for_permission", permission=permission)), nl=False)
