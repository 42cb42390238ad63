#!/bin/sh
# A shell command (as some systems wrap their images in, to read a secret) runs as it is; all else is an argument.
# LinTO's entry points evaluate what follows --run-cmd=, so this one does: it ends in `node`, which is the server here.
case "${1:-}" in
    sh | bash | /bin/sh | /bin/bash) exec "$@" ;;
    --run-cmd=*) eval "${1#*=}" ;;
    *) exec node "$@" ;;
esac
