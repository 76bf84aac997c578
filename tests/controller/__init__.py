"""The controller: in virtual time with a broker that is a dict, over HTTP, and by its files."""
