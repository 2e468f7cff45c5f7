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

# Not by cp: the daemon may write the store meanwhile, and a part of it is in its log; and
# a job and its output may be removed meanwhile, as by prune, which is no failure.
python3 - "$store" "$1/output" "$2" <<'END'
import os, pathlib, shutil, sqlite3, stat, sys

store, output, copy = map(pathlib.Path, sys.argv[1:])


def openWithoutWaiting(path, flags):
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)


def copyWhatIsThere(source, target):
    target.mkdir()
    try:
        entries = list(source.iterdir())
    except FileNotFoundError:
        return
    for entry in entries:
        if entry.is_dir() and not entry.is_symlink():
            copyWhatIsThere(entry, target / entry.name)
            continue
        try:
            mode = entry.lstat().st_mode
            if not stat.S_ISREG(mode):
                # A job has created it. Opening a FIFO would wait for a writer.
                print(f"left out: {entry} is not a regular file", file=sys.stderr)
                continue
            file = open(entry, "rb", opener=openWithoutWaiting)
        except FileNotFoundError:
            continue
        with file, (target / entry.name).open("xb") as copied:
            shutil.copyfileobj(file, copied)


try:
    connection = sqlite3.connect(store.resolve().as_uri() + "?mode=rw", uri=True)
    connection.execute("VACUUM INTO ?", [str(copy / "jobs.sqlite")])
    connection.close()
    # After the store: what a job had written when it was finished is there by now.
    output.stat()
    copyWhatIsThere(output, copy / "output")
except (OSError, sqlite3.Error) as error:
    sys.exit(f"the copy {copy} is not complete: {error}")
END
