"""Provision: make tenants, users, numbers and decks be as a file says."""

from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.common import AsJson, ConfigFile, actor, command, load, wait
from gateway.cli.output import note, print_json
from gateway.cli.stores import announce_directory, open_ledger
from gateway.config import provisioning
from gateway.config.facts import number_plan
from gateway.config.problems import Problem
from gateway.config.provisioning import Provisioning
from gateway.config.settings import Settings
from gateway.ledger import Change

NOTICES_MAX: Final = 20
"""Doubts that are told one by one: a screen of them, where a hundred thousand numbers may have the same one."""


@command
def provision(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Tenants, users, numbers and decks.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Apply a provisioning file: all of it or nothing; applied again it changes nothing."""
    settings = load(config)
    document = provisioning.load(file)

    async def work() -> list[Change]:
        async with open_ledger(settings) as ledger:
            changes = await ledger.provision(document, dry_run=dry_run, actor=actor())
            if changes and not dry_run:
                await announce_directory(settings, ledger)
            return changes

    changes = wait(work())
    notices = notices_of(doubts(document, settings, str(file)), dry_run)
    if as_json:
        told = [_change_document(change) for change in changes]
        print_json({"dry_run": dry_run, "changes": told, "notices": notices})
        return
    for notice in notices:
        note(notice)
    for change in changes:
        typer.echo(change)
    if not changes:
        typer.echo("nothing to change")


def notices_of(problems: list[Problem], dry_run: bool) -> list[str]:
    """A line for each of the first NOTICES_MAX problems, and one for the rest."""
    was = "would be applied" if dry_run else "applied"
    told = [f"warning: {was} all the same: {problem}" for problem in problems[:NOTICES_MAX]]
    rest = len(problems) - len(told)
    return [*told, f"warning: {was} all the same: {rest} more of the kind"] if rest else told


def doubts(document: Provisioning, settings: Settings, file: str) -> list[Problem]:
    """What is applied and may not be meant: numbers and trunks that this gate knows otherwise, or not at all."""
    problems = (
        trunk_problems(document, settings, file),
        class_problems(document, file),
        number_problems(document, file),
    )
    return [each for some in problems for each in some]


def number_problems(document: Provisioning, file: str) -> list[Problem]:
    """Numbers that are none in any numbering plan: from outside nobody can call them.

    Inside a tenant they work, and a plan may be newer than this release's, so they are applied.
    """
    plan = number_plan()
    problems = []
    for key, number in provisioning.numbers(document):
        if plan.classify(number.removeprefix("+")) is None:
            expected = "expected a number of a numbering plan: this one only colleagues can call"
            problems.append(Problem(file, f"{key}.number", f'"{number}"', expected))
    return problems


def class_problems(document: Provisioning, file: str) -> list[Problem]:
    """Toll-free service numbers that are none by the numbering plans: who calls them pays for the call as well.

    A plan may be newer than this release's, so they are applied.
    """
    plan = number_plan()
    problems = []
    for place, tenant in enumerate(document.tenant):
        for index, number in enumerate(tenant.service_number):
            known = plan.valid_class(number.number.removeprefix("+"))
            if number.kind == "toll_free" and known is not None and known.name not in ("toll_free", "unknown"):
                key = f"tenant[{place}].service_number[{index}].kind"
                expected = f'expected "toll": {number.number} is a {known.name} number by its numbering plan'
                problems.append(Problem(file, key, '"toll_free"', expected))
    return problems


def trunk_problems(document: Provisioning, settings: Settings, file: str) -> list[Problem]:
    """Trunks that service numbers and rules for unassigned numbers name, and the settings do not have.

    Calls to such a number would find no way.
    """
    trunks = f"{', '.join(settings.trunks) or 'there is none'}; add it there, or calls find no way"
    problems = []
    for place, tenant in enumerate(document.tenant):
        own = {user.id for user in tenant.user} | {number.number for number in tenant.service_number}
        for index, number in enumerate(tenant.service_number):
            if number.deliver_to not in settings.trunks:
                key = f"tenant[{place}].service_number[{index}].deliver_to"
                problems.append(
                    Problem(
                        file,
                        key,
                        f'"{number.deliver_to}"',
                        f"expected a trunk of the settings: {trunks}",
                    )
                )
        for index, rule in enumerate(tenant.unassigned):
            if rule.target not in own and rule.target not in settings.trunks:
                key = f"tenant[{place}].unassigned[{index}].target"
                expected = f"expected a user or service number of this tenant, or a trunk of the settings: {trunks}"
                problems.append(Problem(file, key, f'"{rule.target}"', expected))
    return problems


def _change_document(change: Change) -> dict[str, object]:
    return {
        "action": change.action,
        "what": change.what,
        "name": change.name,
        "tenant": change.tenant_id or None,
        "fields": list(change.fields),
    }
