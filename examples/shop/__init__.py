"""A shop: sign up, order, pay once, an invoice as PDF, an event for the merchant: `app.py` puts `jobs.py`."""
