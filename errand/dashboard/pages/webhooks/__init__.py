"""Webhook endpoints: what each has answered lately, and what can be done with it."""
