"""Alembic's way in: the caller of :func:`gateway.ledger.schema.migrate` has opened the transaction already."""

from alembic import context

from gateway.ledger.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
