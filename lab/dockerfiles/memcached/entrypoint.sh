#!/bin/sh
case "${1:-}" in
    -*) exec memcached "$@" ;;
    *) exec "$@" ;;
esac
