"""A process of Errand: settings in, signals, logs, its end with its parent."""
