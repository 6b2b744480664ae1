"""Jobs whose starts are controlled, and the accounts of these: no limit is exceeded, and no job lost behind one."""
