"""Floor 6: where collateral comes from. The first floor that may open anything."""
