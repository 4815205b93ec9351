"""Examples into an adapter."""
