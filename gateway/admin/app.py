"""The HTTP side: /metrics, /healthz and /readyz for machines without a token, and /api/v1 with one (CONTRACT 7).

It runs in a process of its own, so that no web request ever delays a SIP message.  Answers are the documents that the
command line prints; errors are problem documents (RFC 9457).
"""

import asyncio
import hmac
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from gateway.admin.desk import Desk, NotDone, NotFound
from gateway.admin.documents import Document
from gateway.admin.readiness import Readiness
from gateway.admin.token import TokenError, admin_token
from gateway.config.settings import Settings
from gateway.config.version import VERSION
from gateway.credit.admin import CreditAdmin, StoreError
from gateway.ledger import Ledger, LedgerAway, LedgerRefused
from gateway.redaction import redact
from gateway.settlement.payments import SIGNATURE, BadSignature, NotConfirmed
from gateway.telemetry.logs import get_logger
from gateway.telemetry.snapshots import scrape

API: Final = "/api/v1"
ACTOR: Final = "http:admin-token"
"""Who acts by HTTP, for the audit log: whoever has the one token there is."""
KEEP_ALIVE_S: Final = 5
CONFIRMATION_BYTES_MAX: Final = 65_536
"""What a payment server says of one payment is a few hundred bytes; anybody may send here."""
GRACE_S: Final = 2
"""How long open answers may go on when the process is asked to end."""
CONNECTIONS_MAX: Final = 1000
"""More at once are answered 503: the admin side is for operators, not for the public."""


def problem(status: int, title: str, detail: str, **more: Any) -> JSONResponse:
    """An RFC 9457 problem document; ``detail`` is often an error's own text, so it is shown without secrets."""
    content = {"type": "about:blank", "title": title, "status": status, "detail": redact(detail), **more}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None  # RFC 6750 3
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def make_app(desk: Desk, token: Callable[[], str], metrics_dir: Path) -> FastAPI:
    """The application over one desk; ``token`` is asked for at each request, so that a new one counts at once."""
    app = FastAPI(title="Callgate", version=VERSION, openapi_url=None, docs_url=None, redoc_url=None)
    app.include_router(_open_routes(desk, metrics_dir))
    api = _api_routes(desk)
    api.add_api_route("/openapi.json", app.openapi, include_in_schema=False)
    app.include_router(_signed_routes(desk), prefix=API)
    app.include_router(api, dependencies=[Depends(_bearer(token))], prefix=API)
    _describe_errors(app)
    return app


def _bearer(token: Callable[[], str]) -> Callable[[Request], None]:
    """A dependency that lets a request with the bearer token pass (RFC 6750 2.1)."""

    def check(request: Request) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode(), token().encode())
        if scheme.lower() != "bearer" or not right:
            raise HTTPException(401, "give the admin token: Authorization: Bearer TOKEN (data_dir/admin-token)")

    return check


def _open_routes(desk: Desk, metrics_dir: Path) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    readiness = Readiness(desk, metrics_dir)

    @routes.get("/healthz")
    async def healthz() -> Document:
        return {"status": "up", "version": VERSION}

    @routes.get("/readyz")
    async def readyz() -> Response:
        missing = await readiness.unusable()
        if missing:
            detail = "; ".join(f"{name}: {why}" for name, why in missing.items())
            return problem(503, "Not ready", detail, unusable=sorted(missing))
        return JSONResponse({"status": "ready"})

    @routes.get("/metrics")
    async def metrics(request: Request) -> Response:
        accept = request.headers.get("accept", "")
        body, content_type = await asyncio.to_thread(scrape, metrics_dir, VERSION, accept)
        return Response(body, headers={"content-type": content_type})

    return routes


def _signed_routes(desk: Desk) -> APIRouter:
    """What a payment server says by itself: its signature stands for the token."""
    routes = APIRouter()

    @routes.post("/payments/{key}", summary="What became of a payment, signed by the payment server")
    async def confirm(key: str, request: Request) -> Document:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > CONFIRMATION_BYTES_MAX:
                raise HTTPException(413, f"a confirmation has at most {CONFIRMATION_BYTES_MAX} bytes")
        return await desk.confirm_payment(key, body, request.headers.get(SIGNATURE, ""))

    return routes


def _api_routes(desk: Desk) -> APIRouter:
    routes = APIRouter()

    @routes.get("/tenants", summary="Every tenant")
    async def tenants() -> list[Document]:
        return await desk.tenants()

    @routes.get("/tenants/{tenant}", summary="One tenant")
    async def tenant(tenant: str) -> Document:
        return await desk.tenant(tenant)

    @routes.get("/tenants/{tenant}/balance", summary="A tenant's balance in Redis beside the ledger's")
    async def balance(tenant: str) -> Document:
        return await desk.balance(tenant)

    @routes.get("/tenants/{tenant}/ledger", summary="A tenant's postings with running balance, oldest first")
    async def ledger(tenant: str) -> list[Document]:
        return [posting async for posting in desk.postings(tenant)]

    @routes.get("/tenants/{tenant}/lots", summary="A tenant's lots of credit with what is left, oldest first")
    async def lots(tenant: str, spent: bool = False) -> list[Document]:
        return await desk.lots(tenant, spent=spent)

    @routes.get("/tenants/{tenant}/recharge", summary="How a tenant's recharge stands, and its latest payments")
    async def recharge(tenant: str) -> Document:
        return await desk.recharge(tenant)

    @routes.get("/calls", summary="Live calls")
    async def calls(tenant: str | None = None) -> list[Document]:
        return await desk.calls(tenant)

    @routes.delete("/calls/{call}", summary="End a live call; it is charged for what was used")
    async def hang_up(call: str) -> Document:
        return await desk.hang_up(call, ACTOR)

    @routes.get("/reconcile", summary="Whether ledger, Redis, outbox and call records agree")
    async def reconcile(tenant: str | None = None) -> Document:
        return await desk.reconcile(tenant)

    return routes


def _describe_errors(app: FastAPI) -> None:
    """Turn what the stores say no with into problem documents; the log gets what nobody expected."""
    log = get_logger("admin")

    @app.exception_handler(HTTPException)
    async def http(_request: Request, error: HTTPException) -> Response:
        title = {401: "Unauthorized", 404: "Not found", 405: "Method not allowed"}.get(error.status_code, "Refused")
        return problem(error.status_code, title, str(error.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        where = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        return problem(422, "Wrong request", where)

    @app.exception_handler(LedgerRefused)
    async def refused(_request: Request, error: LedgerRefused) -> Response:
        more = {"code": error.code} if error.code else {}
        return problem(error.http_status, "Refused", str(error), **more)

    @app.exception_handler(BadSignature)
    async def unsigned(_request: Request, error: BadSignature) -> Response:
        return problem(401, "Unauthorized", str(error))

    @app.exception_handler(NotConfirmed)
    async def not_confirmed(_request: Request, error: NotConfirmed) -> Response:
        return problem(422, "Wrong request", str(error))

    @app.exception_handler(NotFound)
    async def not_found(_request: Request, error: NotFound) -> Response:
        return problem(404, "Not found", str(error))

    @app.exception_handler(NotDone)
    @app.exception_handler(LedgerAway)
    @app.exception_handler(StoreError)
    async def away(_request: Request, error: Exception) -> Response:
        return problem(503, "Not available", str(error))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        log.error("request failed", path=request.url.path, exc_info=error)
        return problem(500, "Fault", "the gate failed to answer; its log says why")


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process around it decides when to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_admin(
    settings: Settings,
    *,
    redis_url: str,
    ledger_url: str,
    sock: Any,
    stop: asyncio.Event,
    metrics_dir: str,
    ready: Callable[[], None] = lambda: None,
) -> None:
    """Answer HTTP on the listening socket ``sock`` until ``stop`` is set; ``ready`` is called before the first request.

    Stores that are away stop nothing.  Raises TokenError where no token can be made.
    """
    token = admin_token(settings)
    ledger = Ledger(ledger_url)
    credit = CreditAdmin(redis_url, partitions=settings.redis.partitions)
    app = make_app(Desk(settings, ledger, credit), lambda: token, Path(metrics_dir))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        limit_concurrency=CONNECTIONS_MAX,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    ready()
    try:
        await asyncio.wait([serving, asyncio.ensure_future(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
    finally:
        await credit.close()
        await ledger.close()


__all__ = ["TokenError", "make_app", "problem", "serve_admin"]
