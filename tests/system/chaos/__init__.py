"""A fleet of real processes under real faults, a hostile broker, hostile load, and the soak."""
