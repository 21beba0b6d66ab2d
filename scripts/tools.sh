#!/bin/sh
# usage: tools.sh TOOL...  Says which of the tools are missing and where they come from, all at once.
missing=0
for tool in "$@"; do
    case $tool in
        cargo) found="cargo --version"; hint="Rust: https://rustup.rs, then open a new shell" ;;
        rustfmt) found="cargo fmt --version"; hint="rustup component add rustfmt" ;;
        clippy) found="cargo clippy --version"; hint="rustup component add clippy" ;;
        c++) found="c++ --version"; hint="Debian, Ubuntu: apt install g++    Fedora: dnf install gcc-c++" ;;
        cc) found="cc --version"; hint="Debian, Ubuntu: apt install gcc    Fedora: dnf install gcc" ;;
        *) found="$tool --version"; hint="Python 3.8 or newer with pip. Debian, Ubuntu: apt install python3-pip" ;;
    esac
    if ! $found >/dev/null 2>&1; then
        echo "error: \`$found\` does not work" >&2
        echo "  $hint" >&2
        missing=1
    fi
done
exit $missing
