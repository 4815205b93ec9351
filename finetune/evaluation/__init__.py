"""What an adapter is worth: the measures and guards, played and read."""
