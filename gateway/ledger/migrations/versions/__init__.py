"""One file per version of the schema; a file that has been released never changes."""
