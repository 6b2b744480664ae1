"""Mail: the letters that the development sink has kept, and what each template would write.

Loaded only where `errand[mail]` is installed. Who may see letters is decided by `errand.http.routes.dev_mail`.
"""
