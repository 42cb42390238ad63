#!/bin/sh
set -e
# A configuration file or options alone mean the server.
case "${1:-}" in
    -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "$1" = redis-server ]; then
    # The official image is built with protected mode off: other containers are no strangers. Debian's is not.
    protected=unset
    for word in "$@"; do
        case "$word" in
            *protected-mode*) protected=set ;;
            *.conf) if grep -qs '^ *protected-mode' "$word"; then protected=set; fi ;;
        esac
    done
    if [ "$protected" = unset ]; then set -- "$@" --protected-mode no; fi
    if [ "$(id -u)" = 0 ]; then
        find . ! -user redis -exec chown redis '{}' +
        exec setpriv --reuid=redis --regid=redis --clear-groups "$@"
    fi
fi
exec "$@"
