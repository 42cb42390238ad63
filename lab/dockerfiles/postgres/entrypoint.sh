#!/bin/bash
# Makes the database cluster at the first start, then runs the server. Variables as in the official image:
# POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB, POSTGRES_INITDB_ARGS, POSTGRES_HOST_AUTH_METHOD; the first four also
# with _FILE. Scripts *.sql and *.sh in /docker-entrypoint-initdb.d run once, after the cluster is made.
set -eo pipefail

case "${1:-}" in
    -*) set -- postgres "$@" ;;
esac
if [ "${1:-}" != postgres ]; then exec "$@"; fi

if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres '{}' +
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi

# from_file NAME: takes NAME from the file that NAME_FILE names; both at once is a mistake.
from_file() {
    local file="$1_FILE"
    if [ -z "${!file:-}" ]; then return; fi
    if [ -n "${!1:-}" ]; then echo "error: both $1 and $file are set" >&2; exit 1; fi
    printf -v "$1" '%s' "$(< "${!file}")"
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    for name in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_INITDB_ARGS; do from_file "$name"; done
    user="${POSTGRES_USER:-postgres}"
    database="${POSTGRES_DB:-$user}"
    method="${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}"
    if [ -z "${POSTGRES_PASSWORD:-}" ] && [ "$method" != trust ]; then
        echo 'error: the database is not made yet and no POSTGRES_PASSWORD is given' >&2
        exit 1
    fi
    # shellcheck disable=SC2086  # several arguments are meant to be several
    initdb --username="$user" --pwfile=<(printf '%s\n' "${POSTGRES_PASSWORD:-unused}") ${POSTGRES_INITDB_ARGS:-}
    printf 'host all all all %s\n' "$method" >> "$PGDATA/pg_hba.conf"
    sed -i "s/^#listen_addresses = .*/listen_addresses = '*'/" "$PGDATA/postgresql.conf"

    # Reached through the socket only, until it is complete: nobody sees a half-made database.
    pg_ctl --wait --silent --options="-c listen_addresses=''" start
    if [ "$database" != postgres ]; then
        psql --no-psqlrc --quiet --username="$user" --dbname=postgres --set=name="$database" \
            --set=ON_ERROR_STOP=1 <<< 'CREATE DATABASE :"name"'
    fi
    for script in /docker-entrypoint-initdb.d/*; do
        case "$script" in
            *.sql) psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$user" --dbname="$database" --file="$script" ;;
            *.sh) POSTGRES_USER="$user" POSTGRES_DB="$database" bash "$script" ;;
        esac
    done
    pg_ctl --wait --silent --mode=fast stop
    unset POSTGRES_PASSWORD
fi
exec "$@"
