"""What tests of several kinds are built with."""
