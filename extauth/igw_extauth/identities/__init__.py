"""What one host keeps of tokens, and for how long."""
