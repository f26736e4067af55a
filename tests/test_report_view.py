"""The interactive view of a circuit."""
