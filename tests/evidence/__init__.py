"""Tests of the programs that seek lost writes: each check finds what is planted, and servers are broken once in each way."""
