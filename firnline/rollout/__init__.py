"""Which device gets which release: rules, the same for the publisher and on a device."""
