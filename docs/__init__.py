"""The pages of the documentation, and in `site/` what makes a site of them."""
