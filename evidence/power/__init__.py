"""Power loss, simulated: a recorder notes what was synced, and a folder is rebuilt as a disk could then hold it."""
