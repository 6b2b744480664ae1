"""Images: the whole path from upload to outputs, beside libraries alone in as many processes."""
