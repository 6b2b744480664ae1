"""What the API shows: views, problems (RFC 9457), event streams, Prometheus text."""
