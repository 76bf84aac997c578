"""One module per subject; an operation id is its row in the permission table."""
