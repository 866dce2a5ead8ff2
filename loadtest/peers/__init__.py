"""SIPp scenarios and Kamailio's configuration for the benchmark, as package data."""
