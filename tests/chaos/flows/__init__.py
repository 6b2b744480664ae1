"""Jobs that have others follow them, and the accounts of these: none lost, none doubled, none before its time."""
