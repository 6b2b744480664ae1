"""Reports of what became of letters, in the shapes of mail servers and providers, and who may send them.

Each file reads one shape into `EmailEvent`, Errand's own. Nothing here keeps anything: `errand.mail.deliveries` does.
"""
