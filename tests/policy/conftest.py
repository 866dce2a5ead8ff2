"""A small world to decide in: two tenants, a PBX, a shared trunk, three carriers, and prices in round figures."""

from pathlib import Path

import pytest

from gateway.config.compile_numbers import write_tables
from gateway.config.facts import number_plan, policy_facts
from policy.directory import Directory, ServiceNumber, Tenant, TenantLimits, Trunk, User
from policy.plan import NumberPlan, load_number_plan
from rating.deck import Deck, RateRow
from rating.tariff import Tariff


@pytest.fixture(scope="session")
def plan() -> NumberPlan:
    """The number plan as it is shipped."""
    return number_plan()


@pytest.fixture(scope="session")
def installed_plan(tmp_path_factory: pytest.TempPathFactory) -> NumberPlan:
    """The number plan compiled from the phonenumbers that is installed, to be compared with it."""
    import gzip

    folder: Path = tmp_path_factory.mktemp("plan")
    write_tables(folder)
    return load_number_plan(
        gzip.decompress((folder / "numbers.csv.gz").read_bytes()).decode().splitlines(),
        (folder / "countries.csv").read_text().splitlines(),
        (folder / "emergency.csv").read_text().splitlines(),
    )


def priced(prefix: str, rate_micros: int, direction: str = "", connect_micros: int = 0) -> RateRow:
    return RateRow(prefix, f"to {prefix}", "", "", direction, Tariff(rate_micros, connect_micros))  # type: ignore[arg-type]


TRUNKS = (
    Trunk("pbx", "access", tenant="contoso", targets=("sip:127.0.0.2:5060",)),
    Trunk("shared", "access", tenant_from="caller", targets=("sip:127.0.0.9:5060",)),
    Trunk("uk-carrier", "carrier", targets=("sip:127.0.0.4:5060",), prefixes=("+44",)),
    Trunk("carrier", "carrier", targets=("sip:127.0.0.3:5060", "sip:127.0.0.3:5061")),
    Trunk("rescue", "carrier", targets=("sip:127.0.0.5:5060",), prefixes=("+990",), emergency=True),
)
TENANTS = (
    Tenant("contoso", country="US", rate_deck="standard", limits=TenantLimits(blocked_prefixes=("+882", "+979"))),
    Tenant("fabrikam", country="GB", currency="GBP", rate_deck="standard", licensing="per-user"),
)
USERS = (
    User("alice", "contoso", "+14255550100", "Alice", usage_location="US"),
    User("bob", "contoso", "+442079460000", usage_location="GB"),
    User("carol", "fabrikam", "+442079460001", licences=("MCOPSTN1", "MCOPSTNPP")),
    User("dave", "fabrikam", "+442079460002", licences=("MCOPSTN1",)),
)
SERVICES = (
    ServiceNumber("+18005550199", "contoso", "toll_free", "conference", "pbx"),
    ServiceNumber("+14255550198", "contoso", "toll", "conference", "pbx"),
    ServiceNumber("+448085550197", "fabrikam", "toll_free", "call_queue", "shared"),
    ServiceNumber("+442079460196", "fabrikam", "toll", "auto_attendant", "shared"),
)
ROWS = (
    priced("1", 13_000),
    priced("44", 20_000),
    priced("4484", 120_000, connect_micros=100_000),
    priced("33", 18_000, "out"),
    priced("263", 480_000),
    priced("1800", 40_000, "in"),
    priced("44808", 50_000, "in"),
)


@pytest.fixture(scope="session")
def directory() -> Directory:
    return Directory(
        version=1,
        trunks={trunk.name: trunk for trunk in TRUNKS},
        tenants={tenant.id: tenant for tenant in TENANTS},
        users={(user.tenant_id, user.id): user for user in USERS},
        users_by_number={user.number: user for user in USERS},
        service_numbers={service.number: service for service in SERVICES},
        decks={"standard": Deck("standard", "USD", ROWS)},
        facts=policy_facts(),
    )
