"""A steady load through HTTP, and the ledger of what was asked for and what was answered."""
