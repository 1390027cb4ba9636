"""Merging: several contacts become one."""
