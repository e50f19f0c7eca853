#!/usr/bin/env bash
# Makes an authority of your own and certificates for the scheduler, workers and clients of Dask:
#
#   make-certificates.sh FOLDER [DAYS]
#
# Who holds one of the private keys (*-key.pem) may run code on the cluster, as any of its users: give
# scheduler and workers theirs, users the client's, and keep ca-key.pem away from the cluster.
# Dask does not check host names, so that certificates hold on every node; every one of the authority
# opens every door. FOLDER must not be there: nothing is overwritten.
set -euo pipefail

folder=${1:?"usage: $0 FOLDER [DAYS]"}
days=${2:-365}
if [ -e "$folder" ]; then
    echo "$folder is there already: give a new folder, or remove it first" >&2
    exit 1
fi
umask 077
mkdir -p "$(dirname "$folder")"
partial=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$partial"' EXIT

quietly() { # COMMAND...: what it says only matters if it fails
    "$@" 2>"$partial/said" || { cat "$partial/said" >&2; exit 1; }
}

request() { # NAME OPTION...: a new key, and what it asks the authority to sign
    quietly openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes \
        -keyout "$partial/$1-key.pem" -subj "/O=dask/CN=$1" "${@:2}"
}

certificate() { # NAME USAGE: signed by the authority
    printf '%s\n' "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
        "extendedKeyUsage=$2" "subjectAltName=DNS:$1" >"$partial/extensions"
    request "$1" -out "$partial/request"
    quietly openssl x509 -req -in "$partial/request" -days "$days" -extfile "$partial/extensions" \
        -CA "$partial/ca.pem" -CAkey "$partial/ca-key.pem" -CAcreateserial -out "$partial/$1.pem"
}

request ca -x509 -days "$days" -addext "keyUsage=critical,keyCertSign" -out "$partial/ca.pem"
# Scheduler and workers call each other; a client only calls, so it cannot pose as either.
certificate scheduler serverAuth,clientAuth
certificate worker serverAuth,clientAuth
certificate client clientAuth
rm -f "$partial/extensions" "$partial/request" "$partial/said" "$partial"/*.srl
mv -T "$partial" "$folder"
trap - EXIT
echo "$folder: ca.pem, and certificates and keys of scheduler, worker and client for $days days"
