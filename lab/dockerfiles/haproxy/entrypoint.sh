#!/bin/sh
# Master-worker mode in the foreground, so that the container lives as long as HAProxy and reloads on SIGUSR2.
case "${1:-}" in
    -*) exec haproxy -W -db "$@" ;;
    haproxy) shift; exec haproxy -W -db "$@" ;;
    *) exec "$@" ;;
esac
