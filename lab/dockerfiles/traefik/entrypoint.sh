#!/bin/sh
# Options or a subcommand alone mean Traefik; anything else is a command of its own.
case "${1:-}" in
    -* | healthcheck | version) exec traefik "$@" ;;
    *) exec "$@" ;;
esac
