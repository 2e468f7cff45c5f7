#!/bin/sh
# Copy what a daemon knows into a new directory, also while the daemon runs:
#
#     backup.sh STATE-DIRECTORY NEW-DIRECTORY [STORE-FILE]
#
# STORE-FILE is what the daemon's --store names, if it has that option. Its copy is
# NEW-DIRECTORY/jobs.sqlite all the same.
set -eu
umask 077
store=${3:-$1/jobs.sqlite}
if [ ! -f "$store" ]; then
    echo "$0: there is no store $store: say as third argument where the daemon's --store is" >&2
    exit 1
fi
mkdir -- "$2"

# Not by cp: the daemon may write the file meanwhile, and a part of it is in its log.
python3 - "$store" "$2/jobs.sqlite" <<'END'
import pathlib, sqlite3, sys

store, copy = map(pathlib.Path, sys.argv[1:])
connection = sqlite3.connect(store.resolve().as_uri() + "?mode=rw", uri=True)
connection.execute("VACUUM INTO ?", [str(copy)])
connection.close()
END

# After the store: what a job had written when it was finished is there by now.
cp -R -- "$1/output" "$2/output"
