"""The device: pure cores against their tables, shells against real files and sockets."""
