"""What the written file really is and knows: types read back, parity, gates, accuracy."""
