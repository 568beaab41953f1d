#!/bin/sh
# Install a locked list of packages and this checkout: requirements/install.sh PYTHON FILE
#
# uv installs in seconds what takes pip a minute. Where there is no build of uv, or where uv does not find the index that
# pip is configured for, pip installs the same files. Both compare every file with the hashes in the list.
set -eu
python=$1
file=$2
pip="$python -m pip --disable-pip-version-check --quiet install"

# A terminal sees the bars of uv and pip; a log gets one line for each step.
quiet=--quiet
[ -t 2 ] && quiet=
step() {
    echo "  $1" >&2
}

install_by_uv() {
    uv="$python -m uv $quiet pip install --python $python"
    # Compiled here, by all cores: where Python may write no bytecode, every process of the tests would compile again.
    step "1 of 3: uv, which installs the rest"
    $pip --require-hashes --requirement requirements/uv.txt &&
        step "2 of 3: $(grep -c '==' "$file") packages of $file" &&
        $uv --compile-bytecode --require-hashes --requirement "$file" &&
        step "3 of 3: this checkout" &&
        $uv --no-deps --no-build-isolation --editable .
}

install_by_pip() {
    # pip refuses an editable installation together with hashes, so the checkout comes in a second step.
    $pip --require-hashes --requirement "$file" &&
        $pip --no-deps --no-build-isolation --editable .
}

install_by_uv || {
    echo "uv cannot install here, pip does ..."
    install_by_pip
}
