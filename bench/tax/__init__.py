"""The parts of `gateway_tax.py`: what is started, the load, what is measured, and the table."""
