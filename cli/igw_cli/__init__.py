"""The `igw` command: wires the components together and starts them."""
