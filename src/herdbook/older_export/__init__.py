"""The older export of engagements, which the vendor does not document: it is as the programs that call it use it."""
