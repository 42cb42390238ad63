#!/bin/sh
# The broker gives up root by itself; mounted folders have to be its own by then.
if [ "$(id -u)" = 0 ]; then
    find /mosquitto ! -user mosquitto -exec chown mosquitto:mosquitto '{}' + 2>/dev/null || true
fi
exec "$@"
