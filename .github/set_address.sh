#!/bin/sh
# Writes the address of this repository everywhere, in the place of the one that stands for it:
#
#   sh .github/set_address.sh OWNER/NAME
#
# The workflow "addresses" runs it at each push; from the second on there is nothing left to write.
set -eu
cd -- "$(dirname -- "$0")/.."
export OWNER="${1%/*}" NAME="${1#*/}"
# shellcheck disable=SC2016 # $ENV is Perl's.
# Not in .github, since a workflow may not change workflows. In an address within an address, / is %2F.
git grep -lzE 'YOUR_ORGANISATION(/|%2F)acronym-tutorial' -- ':!.github' |
    xargs -0 perl -pi -e 's#YOUR_ORGANISATION(/|%2F)acronym-tutorial#$ENV{OWNER}$1$ENV{NAME}#g'
