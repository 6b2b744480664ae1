"""What jobs have stored, as HTTP serves it: files by their key, and images that are made when they are asked for."""
