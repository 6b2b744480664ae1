"""Small programs that use Errand; tests run each of them."""
