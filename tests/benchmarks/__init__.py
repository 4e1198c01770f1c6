"""How fast inturn is, beside others who do the same work; see README.md in this folder."""
