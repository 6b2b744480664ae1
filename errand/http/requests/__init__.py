"""What a request says, read and checked: bodies, query parameters, headers."""
