"""Sharing a memory budget among everything that may be cut or stored in fewer bits, at the least predicted loss."""
