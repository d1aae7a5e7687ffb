"""What `bench/extauth.py` asks, and of whom."""
