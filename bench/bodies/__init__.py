"""The parts of `body_routing.py`: what is asked of which proxy, what is started, what is measured, and the table."""
