"""The ledger's migrations: run by :func:`gateway.ledger.schema.migrate`, packaged with the code."""
