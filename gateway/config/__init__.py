"""Settings and provisioning: what people write in TOML, read at the edge, checked whole, and never changed after."""
