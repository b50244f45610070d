"""Which site gets which precision, and activation-aware scales for those that become INT8."""
