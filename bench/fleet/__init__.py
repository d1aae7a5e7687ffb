"""The parts of `xds_fleet.py`: simulated proxies, in processes of their own."""
