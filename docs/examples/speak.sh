#!/bin/sh
# Speaks an answer sentence by sentence: speak.sh 'How are you?' [SOCKET]. SAY is what speaks.
set -eu
socket=${2:-/run/rkllmd/rkllmd.sock}
jq -nc --arg text "$1" '{op: "chat", text: $text, stream: "sentences"}' |
    socat -t60 - "UNIX-CONNECT:$socket" |
    jq -r --unbuffered 'select(.event == "sentence").text' |
    while read -r sentence; do ${SAY:-echo} "$sentence"; done
